//! Where the payload of a superframe is cut.

/// How many pieces a payload makes, where the cuts lie, and the size of the segments.
pub(super) struct Cut {
    pub(super) count: usize,
    pub(super) step: Step,
    pub(super) size: usize,
}

/// TCP: all pieces are whole segments, made smaller where that fills datagrams better.
pub(super) fn cut_stream(payload: usize, headers: usize, size: usize, room: usize) -> Cut {
    if let Some(cut) = cut_aligned(payload, headers, size, room) {
        return cut;
    }
    let segments = (room - headers).div_ceil(size);
    let step_max = (room - headers) / segments * segments;
    let count = payload.div_ceil(step_max);
    let step = payload.div_ceil(count).next_multiple_of(segments);
    Cut {
        count: payload.div_ceil(step),
        step: Step::Aligned { step },
        size: step / segments,
    }
}

/// UDP: segments are messages, and stay as they are.
pub(super) fn cut_messages(payload: usize, headers: usize, size: usize, room: usize) -> Cut {
    if let Some(cut) = cut_aligned(payload, headers, size, room) {
        return cut;
    }
    let one = payload + headers;
    let (count, total) = match one <= room {
        true => (1, one),
        false => ((one + headers).div_ceil(room), one + headers),
    };
    Cut {
        count,
        step: Step::Even { total },
        size,
    }
}

/// Pieces of whole segments as they are; `None` where those leave much of a datagram empty.
fn cut_aligned(payload: usize, headers: usize, size: usize, room: usize) -> Option<Cut> {
    let segments_fit = (room - headers) / size;
    let is_filled = headers + segments_fit * size >= room - room / WASTE;
    let segments = payload.div_ceil(size);
    if segments_fit == 0 || !is_filled && segments > segments_fit {
        return None;
    }
    let count = segments.div_ceil(segments_fit);
    // The same number of pieces, as equal as they get.
    let step = segments.div_ceil(count) * size;
    Some(Cut {
        count: payload.div_ceil(step),
        step: Step::Aligned { step },
        size,
    })
}

/// Where each piece ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Multiples of the segment size; every piece has headers.
    Aligned { step: usize },
    /// Bodies of equal length, to the byte; `total` counts the headers as often as they are sent.
    Even { total: usize },
}

/// Aligned cuts may leave one part in so many of a datagram empty.
const WASTE: usize = 8;
