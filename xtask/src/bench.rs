//! bench.
use anyhow::Result;
pub(crate) fn bench(_seconds: u32, _only: Option<&str>) -> Result<()> {
    Ok(())
}
