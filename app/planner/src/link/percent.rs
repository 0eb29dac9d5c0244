//! Percent-encoding of a query (RFC 3986), and forms' `+` for a space.

use std::fmt::Write as _;

/// Appends `text`, encoded so that it can stand in a query as a value and still be read by a person.
pub(super) fn encode_into(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            // Unreserved, and the marks that a query may hold and that do not separate its parts.
            b'A'..=b'Z'
            | b'a'..=b'z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'/'
            | b':'
            | b','
            | b'@' => {
                out.push(char::from(byte));
            }
            _ => {
                // Writing to a String does not fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

/// Decodes a name or a value; says what is wrong with it.
pub(super) fn decode(text: &str) -> Result<String, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        match first {
            b'+' => {
                out.push(b' ');
                rest = after;
            }
            b'%' => {
                let digits = after.get(..2).and_then(|pair| Some((digit(pair[0])?, digit(pair[1])?)));
                let Some((high, low)) = digits else {
                    return Err("a % is not followed by two hexadecimal digits".to_owned());
                };
                out.push(high << 4 | low);
                rest = &after[2..];
            }
            other => {
                out.push(other);
                rest = after;
            }
        }
    }
    String::from_utf8(out).map_err(|_| "its percent-encoded bytes are not UTF-8".to_owned())
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok())
}
