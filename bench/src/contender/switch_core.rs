//! The switch's decisions alone, in this process: for figures that no wire is needed for.

use super::{Contender, Description, Fabric, Plan, Plug};
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct SwitchCore;

impl Contender for SwitchCore {
    fn name(&self) -> &'static str {
        "switch-core"
    }

    fn start(&self, _plan: &Plan) -> Result<Box<dyn Fabric>, Trouble> {
        Ok(Box::new(Self))
    }
}

impl Fabric for SwitchCore {
    fn attach(&mut self, _plug: &Plug<'_>) -> Result<(), Trouble> {
        Err(Trouble::Unsupported("nothing attaches to it".to_owned()))
    }

    fn detach(&mut self, _plug: &Plug<'_>) -> Result<(), Trouble> {
        Ok(())
    }

    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        Ok(None)
    }

    fn describe(&self) -> Description {
        Description {
            version: format!("tapestry {}", env!("CARGO_PKG_VERSION")),
            setting: "in this process".to_owned(),
            offloads: String::new(),
        }
    }
}
