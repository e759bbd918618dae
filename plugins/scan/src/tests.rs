//! The two tables: what is personal, and what only looks like it.

use proptest::prelude::*;

use super::{Kind, all, block, find, window, words};

use Kind::{Card, Email, Health, Iban, Phone, PrivateKey, Token};

#[rustfmt::skip]
pub(crate) const PERSONAL: &[(&str, Kind)] = &[
    ("Write to anna.schmidt@posteo.de please", Email),
    ("<a href=\"mailto:j.o'brien@company.ie\">", Email),
    ("From: MAX@FIRMA.AT", Email),
    ("contact: first+tag@sub.domain.co.uk.", Email),
    ("jürgen@müller-söhne.de", Email),
    ("(lena_99@gmail.com)", Email),
    ("{\"email\":\"kim@naver.kr\"}", Email),
    ("a@b.io", Email),
    ("send it to 4711@web.de", Email),
    ("postgres://admin:secret@db.firma.internal.net/x", Email),
    ("ali@xn--mller-kva.xn--p1ai", Email),
    ("Schreib an\nlisa@uni-bonn.de\nbitte", Email),

    (r#"{"from":"\u003canna.schmidt@posteo.de\u003e"}"#, Email),
    (r#"{"from":"J\u00f6rg.M\u00fcller@m\u00fcller-soehne.de"}"#, Email),
    (r#"{"to":"\u0022lisa@uni-bonn.de\u0022"}"#, Email),
    (r#"{"phone":"\u002B49 151 12345678"}"#, Phone),
    (r#"{"text":"erreichbar:\u00a00151 12345678"}"#, Phone),
    (r#"{"card":"\u003c4111 1111 1111 1111"}"#, Card),
    (r#"{"text":"\u201cDE89 3704 0044 0532 0130 00"}"#, Iban),

    ("+49 151 12345678", Phone),
    ("call +4915112345678 now", Phone),
    ("+49 (0)30 901820", Phone),
    ("+44 20 7946 0958", Phone),
    ("+1 415-555-2671", Phone),
    ("+14155552671", Phone),
    ("+1 (212) 736-5000", Phone),
    ("+33 6 12 34 56 78", Phone),
    ("+91 98765 43210", Phone),
    ("+39 06 6982 1234", Phone),
    ("+358 40 1234567", Phone),
    ("0049 151 1234567", Phone),
    ("(415) 736-2671", Phone),
    ("(415)736-2671", Phone),
    ("415-736-2671", Phone),
    ("415.736.2671", Phone),
    ("1-800-273-8255", Phone),
    ("my number is 415 736 2671", Phone),
    ("Phone: 4157362671", Phone),
    ("tel:7362671", Phone),
    ("call me at 4157362671", Phone),
    ("Mobil 0151/12345678", Phone),
    ("0151 12345678", Phone),
    ("015112345678", Phone),
    ("030 901820", Phone),
    ("(030) 901820", Phone),
    ("06 12 34 56 78", Phone),
    ("06.12.34.56.78", Phone),
    ("020 7946 0958", Phone),
    ("07911 123456", Phone),
    ("07911123456", Phone),
    ("am 11.05.2024 0151 1234567 anrufen", Phone),
    ("+49\u{a0}151\u{a0}12345678", Phone),
    ("+49 151 1234567 2024", Phone),
    ("0151 12345678 2024", Phone),
    ("room 12 0151 12345678", Phone),
    ("whatsapp 491511234567", Phone),
    ("Fax 089-123456", Phone),
    ("1 2 3 4 5 6 7 8 9 10 11 12 0151 12345678", Phone),

    ("DE89 3704 0044 0532 0130 00", Iban),
    ("IBAN:DE89370400440532013000", Iban),
    ("de89370400440532013000", Iban),
    ("GB82 WEST 1234 5698 7654 32", Iban),
    ("FR14 2004 1010 0505 0001 3M02 606", Iban),
    ("NO93 8601 1117 947", Iban),
    ("CH93-0076-2011-6238-5295-7", Iban),
    ("MT84 MALT 0110 0001 2345 MTLC AST0 01S", Iban),
    ("NL91 ABNA 0417 1643 00", Iban),

    ("4111 1111 1111 1111", Card),
    (r#"{"notes":"his card:\n4111 1111 1111 1111"}"#, Card),
    (r#"{"notes":"call\n+49 170 1234567"}"#, Phone),
    (r#"{"notes":"pay to\nDE89 3704 0044 0532 0130 00"}"#, Iban),
    (r#"{"notes":"it was\nhepatitis"}"#, Health),
    (r#"{"notes":"a line of sixteen\nAKIAQ3EGV7WNZ2K5LM8T"}"#, Token),
    ("card 4111111111111111 exp 12/27", Card),
    ("4111-1111-1111-1111 123", Card),
    ("5500 0000 0000 0004", Card),
    ("2223003122003222", Card),
    ("3782 822463 10005", Card),
    ("378282246310005", Card),
    ("6011 1111 1111 1117", Card),
    ("3530 1113 3330 0000", Card),
    ("3056 930902 5904", Card),
    ("6759 6498 2643 8453", Card),

    ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow", PrivateKey),
    ("-----BEGIN PRIVATE KEY-----", PrivateKey),
    ("-----BEGIN OPENSSH PRIVATE KEY-----", PrivateKey),
    ("-----BEGIN PGP PRIVATE KEY BLOCK-----", PrivateKey),
    ("AGE-SECRET-KEY-1L27NYQSJ6V8K4W0X3Z5C9T7M2PGHRDE8FAULWQ0KX6V3NZ5S4T", PrivateKey),
    ("AKIAQ3EGV7WNZ2K5LM8T", Token),
    ("aws_access_key_id = ASIAQ3EGV7WNZ2K5LM8T", Token),
    ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCY4kPq9TzKLw", Token),
    ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", Token),
    ("TOKEN=gho_16C7e42F292c6912E7710c838347Ae178B4a", Token),
    ("github_pat_11ABCDEFG0aBcDeFgHiJkL_mNoPqRsTuVwXyZ0123456789", Token),
    ("glpat-Zx9yW8vU7tS6rQ5pO4nM", Token),
    ("sk-proj-8fK2mQ9xLw3vRt7yUi1oPa5sDf6gHj", Token),
    ("OPENAI_API_KEY=\"sk-8fK2mQ9xLw3vRt7yUi1oPa5sDf6gHjKl\"", Token),
    ("sk-ant-api03-8fK2mQ9xLw3vRt7yUi1oPa5sDf6", Token),
    ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", Token),
    ("xoxb-2847563910-4857362910-aBcDeFgHiJkL", Token),
    ("AIzaSyD8fK2mQ9xLw3vRt7yUi1oPa5sDf6gHjKl", Token),
    ("hf_8fK2mQ9xLw3vRt7yUi1oPa5sDf6gHjKlZx", Token),
    ("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", Token),
    ("ABSKQmVkcm9ja0FQSUtleS1hYmNkLWF0LTEyMzQ1Njc4OTAxMjpLZXlPZlNvbWVib2R5", Token),
    ("bedrock-api-key-YmVkcm9jay5hbWF6b25hd3MuY29tLz9BY3Rpb249Q2FsbFdpdGg", Token),
    ("lockgate_8f2a9c0d1e3b4f5a6c7d8e9f0a1b2c3d4e5f6a7b8c9d0e1f", Token),
    ("npm_8fK2mQ9xLw3vRt7yUi1oPa5sDf6gHjKlZx9c", Token),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N", Token),
    ("Authorization: Bearer 8fK2mQ9xLw3vRt7yUi1oPa5sDf6gHj", Token),
    ("AccountKey=8fK2mQ9xLw3vRt7yUi1oPa5sDf6gHjKlZx9cVb4nMq2w==", Token),

    ("She has diabetes.", Health),
    ("Diabetiker", Health),
    ("my HIV test", Health),
    ("breast cancer", Health),
    ("The patient complains of pain", Health),
    ("our patients", Health),
    ("he was diagnosed with something", Health),
    ("high blood pressure", Health),
    ("high blood\npressure", Health),
    ("chemotherapy starts Monday", Health),
    ("My HbA1c is 8.1, what now?", Health),
    ("My [HEALTH-1] is 8.1, what now?", Health),
    ("low blood sugar", Health),
    ("Ist sie schwanger?", Health),
    ("I am pregnant", Health),
    ("my therapist says", Health),
    ("SCHIZOPHRENIA", Health),
    ("an antidepressant", Health),
    ("patient_hiv_status", Health),
];

#[rustfmt::skip]
pub(crate) const NOT_PERSONAL: &[&str] = &[
    "",
    "a",
    "Hello, how are you?",
    "user@example.com",
    "jane.doe@mail.example.org",
    "root@localhost",
    "someone@host.invalid",
    "ci@build.test",
    "you@yourdomain.com",
    "foo@bar.com",
    "noreply@github.com",
    "git@github.com:rust-lang/rust.git",
    "logo@2x.png",
    "import x from '@scope/package'",
    "npm install left-pad@1.3.0",
    "actions/checkout@v4",
    "image@sha256:9f86d081884c7d659a2feaa0c55ad015",
    "@Override public void run()",
    "follow @rustlang on the web",
    "5 @ 3.50 each",
    "a @ b.com",
    "@example.com",
    "wasi-cli@0.2.0.wasm",
    "user@host",

    "order 4157362671",
    "Order #415-736-2671",
    "Bestellnummer 0151 12345678",
    "invoice 2024-0001234",
    "#1234567890",
    "ticket 9876543210",
    "1700000000",
    "at 1700000000123 ms",
    "1700000000123456789",
    "timestamp: 1717171717",
    "2024-05-11",
    "11.05.2024",
    "2024-05-11 12:30:45.123456",
    "2024-05-11T12:30:45Z",
    "05/11/2024 06:15",
    "from 01.01.2024-31.12.2024",
    "01.02.2024 - 03.04.2024",
    "20240511123045",
    "version 1.2.3.4",
    "v10.15.7-rc.2",
    "192.168.100.200",
    "10.0.0.1:8080",
    "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
    "3.14159265358979",
    "1,234,567,890",
    "10 000 000 users",
    "256 512 1024",
    "512 768 1024 2048",
    "$4157362671",
    "€ 1234567890",
    "+1234567",
    "+48.85661400+002.35222200/",
    "+0200",
    "@@ -100,7 +100,9 @@",
    "555-0123",
    "+1 202-555-0143",
    "(415) 555-0199",
    "123-456-7890",
    "94103-1234",
    "01234-5678",
    "978-3-16-148410-0",
    "0-306-40615-2",
    "4006381333931",
    "550e8400-e29b-41d4-a716-446655440000",
    "12345678-1234-1234-1234-123456789012",
    "d41d8cd98f00b204e9800998ecf8427e",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "0x7ffe5367e044",
    "commit 0151123",
    "https://x.com/a/status/1234567890123456789",
    "https://shop.de/item/4111111111111111",
    "12345678901234567890123456789012345678901234567890",
    "lat 52.520008, lon 13.404954",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
    "10 20 30 40 50 60 70 80 90 100",
    "width: 1024px; height: 768px",
    "0.0000001",
    "0.0428488254547119",
    "0794.0020.0002",
    "6218 6241 6242 6243 39D8 62CF",
    "(4289851098633925465, 2175541218577478036)",
    "1e-10 and 6.02214076e23",

    "4111 1111 1111 1112",
    "4242424242424241",
    "1234 5678 9012 3456",
    "4000 4001 4002 4003 4004 4005 4006",
    "0000 0000 0000 0000",
    "DE89 3704 0044 0532 0130 01",
    "DE00 0000 0000 0000 0000 00",
    "XX89 3704 0044 0532 0130 00",
    "DE8937040044053201300",
    "AB12CD34",
    "ISO27001 and RFC2606",

    "-----BEGIN CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----",
    "BEGIN TRANSACTION; COMMIT;",
    "AKIAIOSFODNN7EXAMPLE",
    "AKIA",
    "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "sk-your-api-key-goes-here-1234567890",
    "sk-...",
    "sk-loading-spinner-container-element",
    "sk-0000000000000000000000000000",
    "npm_config_registry",
    "hf_hub_download",
    "hf_transferfromtheotherserverthatwasthere",
    "lockgate_plugin_ahead_calls_total",
    "ABSK",
    "bedrock-api-key-rotation",
    "Bearer authentication is described below",
    "Authorization: Bearer <token>",
    "eyJhbGciOiJIUzI1NiJ9",
    "aws_secret_access_key = YOUR_SECRET_KEY",
    "Asia and Africa",

    "Please be patient.",
    "positive results",
    "HEALTH-1 [HEALTH-] [HEALTH-x] (health-2) [health-3",
    "the hive mind",
    "hearing aids and visual aids",
    "disable the virus scanner",
    "a dependency injection framework",
    "symptoms of a memory leak",
    "diagnose the failing build",
    "a map it is not intended for is diagnosed with a type error",
    "self.metastack.append(self.stack)",
    "the Great Depression",
    "cancel the order",
    "a stroke of luck",
    "operation succeeded",
];

#[test]
fn what_is_personal_is_recognised() {
    let wrong: Vec<_> = PERSONAL.iter().filter(|(text, kind)| find(text) != Some(*kind)).collect();
    let told: Vec<_> = wrong.iter().map(|(text, _)| (text, find(text))).collect();
    assert!(wrong.is_empty(), "{told:#?}");
}

#[test]
fn what_is_not_personal_is_left_alone() {
    let wrong: Vec<_> = NOT_PERSONAL.iter().filter_map(|text| Some((text, find(text)?))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_tables_are_long_enough_to_mean_something() {
    assert!(PERSONAL.len() >= 60 && NOT_PERSONAL.len() >= 60);
    for kind in [Email, Phone, Iban, Card, PrivateKey, Token, Health] {
        assert!(PERSONAL.iter().filter(|(_, row)| *row == kind).count() >= 5, "{kind:?}");
    }
}

/// A text with something harmless in the place of every finding.
fn without_findings(text: &str) -> String {
    let mut rest = String::new();
    let mut end = 0;
    for found in all(text) {
        rest.push_str(&text[end..found.range.start]);
        rest.push('_');
        end = found.range.end;
    }
    rest + &text[end..]
}

#[test]
fn findings_cover_what_is_personal() {
    for (text, kind) in PERSONAL {
        let around = format!("x {text} y");
        assert!(all(&around).iter().any(|found| found.kind == *kind), "{text}: {:?}", all(&around));
        assert_eq!(find(&without_findings(&around)), None, "{text}: {}", without_findings(&around));
    }
    for text in NOT_PERSONAL {
        assert_eq!(all(text), [], "{text}");
    }
}

#[test]
fn findings_end_where_they_should() {
    for (text, rest) in [
        ("Write to anna.schmidt@posteo.de, please.", "Write to _, please."),
        ("'o'brien@company.ie'", "'_'"),
        ("call +49 (0)30 901820!", "call _!"),
        ("(415) 736-2671 or (030) 901820.", "_ or _."),
        ("IBAN:DE89370400440532013000;", "IBAN:_;"),
        ("card 4111111111111111, exp 12/27", "card _, exp 12/27"),
        ("TOKEN=\"gho_16C7e42F292c6912E7710c838347Ae178B4a\"", "TOKEN=\"_\""),
        ("a eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4 b", "a _ b"),
        ("-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY----- z", "_ z"),
        ("Diabetikerin", "_"),
        (r#"{"to":"a\nanna.schmidt@posteo.de\n0151 12345678"}"#, r#"{"to":"a\n_\n_"}"#),
        ("jürgen@müller.de und 0151 12345678 und lisa@web.de", "_ und _ und _"),
    ] {
        assert_eq!(without_findings(text), rest);
    }
}

/// Text in which nothing is personal, of this many bytes.
fn filler(length: usize) -> String {
    "The quick brown fox jumps over the lazy dog, 12 times in 2024. ".chars().cycle().take(length).collect()
}

#[test]
fn it_does_not_matter_what_stands_around() {
    let around = filler(200);
    for (text, kind) in PERSONAL {
        assert_eq!(find(&format!("{around}\n{text}\n{around}")), Some(*kind), "{text}");
    }
    for text in NOT_PERSONAL {
        assert_eq!(find(&format!("{around}\n{text}\n{around}")), None, "{text}");
    }
}

fn find_in_pieces(text: &str, piece_bytes: u32) -> Option<Kind> {
    window::find(text.len() as u64, piece_bytes, |offset, limit| {
        let start = text.floor_char_boundary(offset as usize);
        let end = text.floor_char_boundary(start + limit as usize);
        text[start..end].to_owned()
    })
}

#[test]
fn nothing_is_lost_between_two_pieces() {
    let piece = 1000;
    for (text, kind) in PERSONAL {
        // The end of the first piece, and what is left to the second, pass over every byte of it.
        for before in 300..=1010 {
            let whole = format!("{}\n{text}\n{}", filler(before), filler(2500 - before));
            assert_eq!(find_in_pieces(&whole, piece), Some(*kind), "{text} at {before}");
        }
    }
}

#[test]
fn nothing_is_made_up_between_two_pieces() {
    let piece = 1000;
    for text in NOT_PERSONAL {
        for before in (300..=1010).step_by(7) {
            let whole = format!("{}\n{text}\n{}", filler(before), filler(2500 - before));
            assert_eq!(find_in_pieces(&whole, piece), None, "{text} at {before}");
        }
    }
}

#[test]
fn pieces_grow_with_the_text() {
    for length in [0, 1, 4 << 10, 100 << 10, 1 << 20, 32 << 20] {
        let piece = u64::from(window::piece_bytes(length));
        assert!(piece >= 16 << 10);
        assert!(length / piece <= 12, "{length}: {piece}");
    }
}

#[test]
fn a_finding_that_begins_before_several_others_is_one_with_them_all() {
    let text = "sk-proj-8fK2mQ9xeyJhbGciOi.eyJeyJhbGciOi.eyJeyJhbGciOi.eyJ@eyJhbGciOi.eyJ 4111 1111 1111 ";
    let all = all(text);
    assert!(all.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start), "{all:?}");
}

proptest! {
    #[test]
    fn any_text_is_judged_alike_whole_and_in_pieces(
        parts in prop::collection::vec(
            prop_oneof![
                "[0-9]{1,5}",
                "[-+. /()@#:=_\u{a0}é]{1,3}",
                "[A-Za-z]{1,6}",
                Just("patient ".to_owned()),
                Just("eyJhbGciOi.eyJ".to_owned()),
                Just("sk-proj-8fK2mQ9x".to_owned()),
                Just("DE89 3704 0044".to_owned()),
                Just(" 4111 1111 1111 ".to_owned()),
            ],
            0..400,
        ),
    ) {
        let text: String = parts.concat();
        prop_assert_eq!(find_in_pieces(&text, 1000), find(&text));
        let all = all(&text);
        prop_assert_eq!(all.is_empty(), find(&text).is_none());
        let mut end = 0;
        for found in all {
            prop_assert!(found.range.start >= end && found.range.end > found.range.start);
            prop_assert!(text.get(found.range.clone()).is_some(), "{:?} splits a character", found);
            end = found.range.end;
        }
    }

    #[test]
    fn no_place_of_a_word_is_left_out(
        before in "[a-zA-Z0-9 é.-]{0,20}",
        word in prop::sample::select(vec![
            "my doctor", "my\ndoctor", "HIV", "hf_0123456789abcdefghijklmnopqrstuv", "Abortion", "xoxb-1234567890a",
            "SG.abcdefghijklm1234", "the patient", "tumour", "panic\tattack", "sk-abcdefghij0123456789", "in", "the pat",
        ]),
        after in "[a-z0-9 ]{0,20}",
    ) {
        let text = format!("{before} {word}{after}");
        let place = before.len() + 1;
        let base = place - place % block::BYTES;
        let places = block::with_window(text.as_bytes(), base, words::places);
        prop_assert!(words::at(text.as_bytes(), place).is_none() || places >> (place - base) & 1 == 1);
    }
}

#[test]
fn an_escape_is_taken_whole_or_not_at_all() {
    for (text, found) in [
        (r#""\u003canna.schmidt@posteo.de\u003e""#, "anna.schmidt@posteo.de"),
        (r#""J\u00f6rg@m\u00fcller.de\n""#, r"J\u00f6rg@m\u00fcller.de"),
        (r#""\u00d6zg\u00fcr@posteo.de""#, r"\u00d6zg\u00fcr@posteo.de"),
        (r#""\n\u00e9va@posteo.hu""#, r"\u00e9va@posteo.hu"),
        (r#""\u002b49 151 12345678""#, r"\u002b49 151 12345678"),
        (r#""\u003e0151 12345678\u003c""#, "0151 12345678"),
    ] {
        let ranges: Vec<_> = all(text).into_iter().map(|one| &text[one.range]).collect();
        assert_eq!(ranges, [found], "{text}");
    }
}

proptest! {
    /// Wherever blocks lie, what an escape is written with begins and ends words alike.
    #[test]
    fn escapes_do_not_depend_on_where_blocks_begin(
        padding in "[ x]{0,70}",
        escape in prop::sample::select(vec![r"\u003c", r"\u00a0", r"\u201c", r"\n"]),
        from in 0_usize..90,
    ) {
        let text = format!("{padding} {escape}0151 12345678");
        prop_assert_eq!(find(&text), Some(Phone));
        // Looked at from a place in the middle, as a long text is.
        let from = from.min(text.len() - 13);
        prop_assert_eq!(super::find_between(text.as_bytes(), from, text.len(), &mut 0), Some(Phone));
    }
}
