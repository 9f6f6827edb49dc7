//! What every policy is shown: a request, and who sent it.

pub use crate::bindings::host::tidegate::policy::types::{Caller, Header, PluginError, Request};

impl Request {
    /// A request for a unit test: `POST` to `path`, nothing else known.
    #[must_use]
    pub fn to(path: &str) -> Self {
        Self {
            id: "test".to_owned(),
            method: "POST".to_owned(),
            path: path.to_owned(),
            query: None,
            authority: "localhost".to_owned(),
            client_ip: "127.0.0.1".to_owned(),
            endpoint: "test".to_owned(),
            content_length: None,
            headers: Vec::new(),
            attributes: Vec::new(),
        }
    }

    /// The same request with one header more; the name in lower case, as the
    /// gateway gives them.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(Header::new(name, value));
        self
    }

    /// The value of the first header of this name (in lower case), of those that
    /// the Plugin resource lists.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        find(&self.headers, name)
    }

    /// The same as text; `None` where it is not UTF-8.
    #[must_use]
    pub fn header_str(&self, name: &str) -> Option<&str> {
        core::str::from_utf8(self.header(name)?).ok()
    }

    /// An attribute of the connection, such as `tls.client.subject`.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Header {
    /// A header.
    #[must_use]
    pub fn new(name: &str, value: impl AsRef<[u8]>) -> Self {
        Self {
            name: name.to_owned(),
            value: value.as_ref().to_vec(),
        }
    }
}

impl Caller {
    /// A caller with a name and nothing else.
    #[must_use]
    pub fn named(subject: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            tenant: String::new(),
            scopes: Vec::new(),
            attributes: Vec::new(),
        }
    }
}

/// The value of the first header called `name`.
pub(crate) fn find<'a>(headers: &'a [Header], name: &str) -> Option<&'a [u8]> {
    headers
        .iter()
        .find(|header| header.name == name)
        .map(|header| header.value.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_header_of_a_name_counts() {
        let request = Request::to("/score")
            .with_header("x-a", "1")
            .with_header("x-a", [0xff]);
        assert_eq!(request.header_str("x-a"), Some("1"));
        assert_eq!(request.header("x-b"), None);
        assert_eq!(
            Request::to("/")
                .with_header("x-a", [0xff])
                .header_str("x-a"),
            None
        );
    }
}
