//! The page's files, as they are in the command.

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct File {
    path: &'static str,
    /// Its media type.
    pub(super) kind: &'static str,
    pub(super) text: &'static str,
}

/// The file at a path, which begins with a slash.
pub(super) fn file(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}

const fn script(path: &'static str, text: &'static str) -> File {
    File {
        path,
        kind: "text/javascript; charset=utf-8",
        text,
    }
}

static FILES: [File; 9] = [
    File {
        path: "/",
        kind: "text/html; charset=utf-8",
        text: include_str!("index.html"),
    },
    File {
        path: "/style.css",
        kind: "text/css; charset=utf-8",
        text: include_str!("style.css"),
    },
    script("/main.js", include_str!("main.js")),
    script("/agent.js", include_str!("agent.js")),
    script("/elements.js", include_str!("elements.js")),
    script("/link.js", include_str!("link.js")),
    script("/map.js", include_str!("map.js")),
    script("/model.js", include_str!("model.js")),
    script("/panel.js", include_str!("panel.js")),
];
