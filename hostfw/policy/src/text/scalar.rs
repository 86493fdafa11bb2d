//! What a plain scalar is: nothing, a truth value, a number or text. Kubernetes
//! reads YAML 1.1, so its words for truth count as such (`yes`, `off`); an
//! author who means the word puts it in quotes.

use super::Value;

/// Words that are truth values in any case of letters.
const TRUE: [&str; 4] = ["true", "yes", "y", "on"];
const FALSE: [&str; 4] = ["false", "no", "n", "off"];

/// What a plain scalar stands for.
pub(super) fn resolved(text: &str) -> Value {
    let is = |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match text.as_bytes().first() {
        None | Some(b'~') if text.len() <= 1 => Value::Null,
        Some(b'n' | b'N') if text.eq_ignore_ascii_case("null") => Value::Null,
        Some(b't' | b'T' | b'y' | b'Y' | b'o' | b'O') if is(TRUE) => Value::Truth(true),
        Some(b'f' | b'F' | b'n' | b'N' | b'o' | b'O') if is(FALSE) => Value::Truth(false),
        Some(b'0'..=b'9' | b'+' | b'-' | b'.') if is_number(text) => Value::Number(text.to_owned()),
        _ => Value::Text(text.to_owned()),
    }
}

/// Integers of any base with their separators, and floating-point numbers.
fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let based = |prefix: &str, is_digit: fn(&u8) -> bool| {
        unsigned.strip_prefix(prefix).is_some_and(|digits| {
            digits.bytes().any(|byte| is_digit(&byte))
                && digits.bytes().all(|byte| is_digit(&byte) || byte == b'_')
        })
    };
    based("0x", u8::is_ascii_hexdigit)
        || based("0o", |byte| (b'0'..=b'7').contains(byte))
        || based("0b", |byte| matches!(byte, b'0' | b'1'))
        || is_decimal(unsigned)
        || [".inf", ".nan"].iter().any(|word| unsigned.eq_ignore_ascii_case(word))
}

/// Digits, maybe a fraction, maybe an exponent.
fn is_decimal(unsigned: &str) -> bool {
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    mantissa.bytes().any(|byte| byte.is_ascii_digit())
        && !whole.starts_with('_')
        && digits(whole)
        && digits(fraction)
        && exponent.is_none_or(|exponent| {
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            !exponent.is_empty() && exponent.bytes().all(|byte| byte.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_told_apart() {
        for number in [
            "0", "80", "080", "-5", "+80", "8_0", "0x50", "0o17", "0b11", "1.5", ".5", "1e3",
            "-.inf", ".NaN", "5.",
        ] {
            assert_eq!(resolved(number), Value::Number(number.to_owned()), "{number}");
        }
        for text in [
            "10.0.0.0/8",
            "1.2.3",
            "80-90",
            "0x",
            "0xg",
            "e3",
            "1e",
            ".",
            "-",
            "+",
            "_1",
            "yess",
            "nul",
            "80/TCP",
            "1:30",
        ] {
            assert_eq!(resolved(text), Value::Text(text.to_owned()), "{text}");
        }
        for (text, truth) in
            [("true", true), ("Yes", true), ("on", true), ("NO", false), ("off", false)]
        {
            assert_eq!(resolved(text), Value::Truth(truth), "{text}");
        }
        for null in ["", "~", "null", "Null", "NULL"] {
            assert_eq!(resolved(null), Value::Null, "{null:?}");
        }
    }
}
