//! Settings that are refused, and what they say.

use std::sync::Arc;

use lockgate_api::Locality;
use lockgate_providers::{Provider, ProviderKind, ProviderSettings, Secret};

use crate::harness::{bedrock_settings, openai_settings, target};

fn refused(settings: ProviderSettings, air_gapped: bool) -> String {
    Provider::new(settings, air_gapped).unwrap_err().to_string()
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let good = || openai_settings("http://127.0.0.1:1/v1", Locality::Local);
    let cases = [
        (ProviderSettings { endpoint: None, ..good() }, "provider `server`: `endpoint` is missing"),
        (ProviderSettings { locality: None, ..good() }, "`locality` is missing"),
        (openai_settings("http://8.8.8.8/v1", Locality::Local), "8.8.8.8"),
        (openai_settings("http://10.0.0.1/v1", Locality::Local), "loopback"),
        (openai_settings("http://8.8.8.8/v1", Locality::Lan), "private"),
        (openai_settings("ftp://127.0.0.1", Locality::Local), "scheme"),
        (ProviderSettings { api_key: Some(Secret::new("a\nb")), ..good() }, "`api_key`"),
        (ProviderSettings { region: None, ..bedrock_settings("http://127.0.0.1:1") }, "`region` is missing"),
        (
            ProviderSettings { region: Some("eu/../x".into()), ..bedrock_settings("http://127.0.0.1:1") },
            "`region`",
        ),
        (
            ProviderSettings { locality: Some(Locality::Local), ..bedrock_settings("http://127.0.0.1:1") },
            "`cloud`",
        ),
        (bedrock_settings("http://user:hunter2@127.0.0.1:1"), "api_key"),
    ];
    for (settings, words) in cases {
        let message = refused(settings, false);
        assert!(message.contains(words), "{words}: {message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn an_air_gapped_host_has_local_providers_alone() {
    for settings in [
        openai_settings("http://127.0.0.1:1/v1", Locality::Lan),
        openai_settings("http://127.0.0.1:1/v1", Locality::Cloud),
        bedrock_settings("http://127.0.0.1:1"),
    ] {
        let message = refused(settings, true);
        assert!(message.contains("air_gapped"), "{message}");
    }
    assert!(Provider::new(openai_settings("http://127.0.0.1:1/v1", Locality::Local), true).is_ok());
}

#[test]
fn a_target_cannot_be_nearer_than_its_provider() {
    let lan = Provider::new(openai_settings("http://127.0.0.1:1/v1", Locality::Lan), false).unwrap();
    let Err(error) = lan.backend(target("m", Locality::Local)) else { panic!("accepted") };
    assert!(error.to_string().contains("target `box` claims locality `local`"), "{error}");
    assert!(lan.backend(target("m", Locality::Lan)).is_ok());
    assert!(lan.backend(target("m", Locality::Cloud)).is_ok());
}

#[test]
fn secrets_are_never_printed() {
    let mut settings = openai_settings("http://127.0.0.1:1/v1", Locality::Local);
    settings.api_key = Some(Secret::new(" hunter2\n"));
    assert!(!format!("{settings:?}").contains("hunter2"));
    let provider = Arc::new(Provider::new(settings, false).unwrap());
    assert!(!format!("{provider:?}").contains("hunter2"));
}

#[test]
fn kinds_have_names() {
    for kind in ProviderKind::ALL {
        assert_eq!(kind.name().parse(), Ok(kind));
    }
    let unknown = "gemini".parse::<ProviderKind>().unwrap_err();
    assert_eq!(unknown, "unknown provider kind `gemini`: use openai-compatible or bedrock");
}
