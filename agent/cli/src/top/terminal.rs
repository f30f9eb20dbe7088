//! The terminal that `top` has to itself, until it is dropped.

use std::io::{self, Write, stdout};
use std::thread;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, read};
use crossterm::queue;
use crossterm::style::Print;
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode, size,
};
use tokio::sync::mpsc;

use super::state::{Key, State};
use crate::failure::Failure;
use crate::screen;

pub(super) struct Terminal;

impl Terminal {
    pub(super) fn enter() -> Result<Self, Failure> {
        enable_raw_mode().map_err(Failure::Output)?;
        // From here on it is put right again.
        let terminal = Self;
        let mut out = stdout();
        queue!(out, EnterAlternateScreen, Hide)
            .and_then(|()| out.flush())
            .map_err(Failure::Output)?;
        Ok(terminal)
    }

    /// What is pressed, from a thread that ends with the process.
    pub(super) fn keys(&self) -> Result<mpsc::Receiver<Key>, Failure> {
        let (pressed, keys) = mpsc::channel(KEYS_WAITING);
        let read_keys = move || {
            while let Ok(event) = read() {
                if let Some(key) = key(&event)
                    && pressed.blocking_send(key).is_err()
                {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("keys".to_owned())
            .spawn(read_keys)
            .map_err(Failure::Runtime)?;
        Ok(keys)
    }

    pub(super) fn draw(&mut self, state: &State) -> Result<(), Failure> {
        self.draw_on(state, stdout().lock())
            .map_err(Failure::Output)
    }

    fn draw_on(&mut self, state: &State, mut out: impl Write) -> io::Result<()> {
        let (width, height) = size()?;
        let lines = state.screen(width.into(), height.into(), screen::look().colours);
        for (row, line) in (0..).zip(lines) {
            queue!(
                out,
                MoveTo(0, row),
                Print(line),
                Clear(ClearType::UntilNewLine)
            )?;
        }
        out.flush()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut out = stdout();
        // Nobody is left to be told.
        let _ = queue!(out, Show, LeaveAlternateScreen);
        let _ = out.flush();
        let _ = disable_raw_mode();
    }
}

fn key(event: &Event) -> Option<Key> {
    let event = match event {
        Event::Key(event) if event.kind != KeyEventKind::Release => event,
        Event::Resize(..) => return Some(Key::Resized),
        _ => return None,
    };
    let KeyEvent {
        code, modifiers, ..
    } = event;
    match code {
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
        KeyCode::Char(c) => Some(Key::Char(*c)),
        KeyCode::Enter => Some(Key::Enter),
        KeyCode::Esc => Some(Key::Escape),
        KeyCode::Backspace => Some(Key::Backspace),
        KeyCode::Tab => Some(Key::Tab),
        KeyCode::Up => Some(Key::Up),
        KeyCode::Down => Some(Key::Down),
        KeyCode::PageUp => Some(Key::PageUp),
        KeyCode::PageDown => Some(Key::PageDown),
        _ => None,
    }
}

const KEYS_WAITING: usize = 16;
