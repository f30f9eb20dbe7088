//! `lab graph`: a lab as a picture.

use integration::lab;

use super::File;
use crate::failure::Failure;
use crate::output;

/// Print a lab as a picture: SVG, mermaid or dot
#[derive(Debug, clap::Args)]
pub(crate) struct Graph {
    #[command(flatten)]
    file: File,
    /// For dot(1) of graphviz
    #[arg(long, group = "form")]
    dot: bool,
    /// For Markdown, as GitHub shows it; this where nothing is said
    #[arg(long, group = "form")]
    mermaid: bool,
    /// For browsers and documents
    #[arg(long, group = "form")]
    svg: bool,
}

pub(super) fn graph(args: &Graph) -> Result<u8, Failure> {
    let lab = args.file.open()?;
    let text = match (args.dot, args.svg) {
        (true, _) => lab::dot(&lab),
        (_, true) => lab::svg(&lab),
        _ => lab::mermaid(&lab),
    };
    output::print(&text)?;
    Ok(0)
}
