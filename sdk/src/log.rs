//! Lines in the gateway's log, marked with the plugin and its binding.

pub use crate::bindings::host::tidegate::policy::log::Level;

/// Writes one line. A call may write 64 lines of 4 KiB; more are dropped.
pub fn emit(level: Level, message: &str, fields: &[(&str, &str)]) {
    let fields: Vec<(String, String)> = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    #[cfg(target_arch = "wasm32")]
    crate::bindings::host::tidegate::policy::log::emit(level, message, &fields);
    #[cfg(not(target_arch = "wasm32"))]
    crate::fake::with(|fake| {
        fake.lines.push(crate::fake::Line {
            level,
            message: message.to_owned(),
            fields,
        });
    });
}

/// One line for whoever debugs the plugin.
pub fn debug(message: &str) {
    emit(Level::Debug, message, &[]);
}

/// One line that an operator may want to read.
pub fn info(message: &str) {
    emit(Level::Info, message, &[]);
}

/// One line that an operator should read.
pub fn warn(message: &str) {
    emit(Level::Warn, message, &[]);
}

/// One line that an operator must read.
pub fn error(message: &str) {
    emit(Level::Error, message, &[]);
}
