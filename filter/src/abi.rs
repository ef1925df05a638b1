//! The numbers of the proxy-wasm ABI 0.2.1 that the filter speaks. A test holds them against the SDK's.

/// A call did what it was asked for.
pub const OK: u32 = 0;

/// There is no such header or property.
pub const NOT_FOUND: u32 = 1;

/// The bytes of an answer have no place. The proxy says so when it gets no memory.
pub const INVALID_MEMORY_ACCESS: u32 = 6;

/// The map of the request headers.
pub const REQUEST_HEADERS: u32 = 0;

/// The buffer that holds the plugin's configuration while it is configured.
pub const PLUGIN_CONFIGURATION: u32 = 7;

/// The answer to a callback of a request: go on.
pub const CONTINUE: u32 = 0;

/// How bad a log line is. The proxy drops what its own level is over.
#[derive(Clone, Copy, Debug)]
pub enum Severity {
    /// All is well.
    Info = 2,
    /// Somebody has to look at it.
    Warn = 3,
    /// The module is about to trap.
    Critical = 5,
}

/// What a metric does.
#[derive(Clone, Copy, Debug)]
pub enum MetricKind {
    /// It only grows.
    Counter = 0,
    /// It is set.
    Gauge = 1,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proxy_wasm::types::{Action, BufferType, LogLevel, MapType, MetricType, Status};

    #[test]
    fn the_numbers_are_those_of_the_sdk() {
        assert_eq!((OK, NOT_FOUND), (Status::Ok as u32, Status::NotFound as u32));
        assert_eq!(REQUEST_HEADERS, MapType::HttpRequestHeaders as u32);
        assert_eq!(PLUGIN_CONFIGURATION, BufferType::PluginConfiguration as u32);
        assert_eq!(CONTINUE, Action::Continue as u32);
        assert_eq!(Severity::Info as u32, LogLevel::Info as u32);
        assert_eq!(Severity::Warn as u32, LogLevel::Warn as u32);
        assert_eq!(Severity::Critical as u32, LogLevel::Critical as u32);
        assert_eq!(MetricKind::Counter as u32, MetricType::Counter as u32);
        assert_eq!(MetricKind::Gauge as u32, MetricType::Gauge as u32);
    }
}
