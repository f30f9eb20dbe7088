//! Which engine runs a lab's images.

use crate::lab::engine::{Runtime, Unable, find};
use crate::lab::model::{Lab, Runs};

/// Decides it for each image that names none, and asks each engine whether it is there.
pub async fn settle(lab: &mut Lab) -> Result<(), Unable> {
    let mut known: Vec<(Option<Runtime>, Runtime)> = Vec::new();
    for node in &mut lab.nodes {
        let Runs::Image(image) = &mut node.runs else {
            continue;
        };
        let asked = image.runtime;
        let found = known.iter().find(|(one, _)| *one == asked);
        let runtime = match found {
            Some((_, runtime)) => *runtime,
            None => {
                let runtime = find(asked, &node.name, &image.name).await?;
                known.push((asked, runtime));
                runtime
            }
        };
        image.runtime = Some(runtime);
    }
    Ok(())
}
