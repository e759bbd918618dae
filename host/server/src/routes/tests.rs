use super::*;

fn find(method: &str, path: &str) -> Result<Route, ApiError> {
    Route::find(&method.parse().expect("a method"), path)
}

#[test]
fn every_route_is_found_by_its_own_method() {
    for (method, path, expected) in [
        ("POST", "/v1/chat/completions", Route::ChatCompletions),
        ("POST", "/v1/embeddings", Route::Embeddings),
        ("GET", "/v1/models", Route::Models),
        ("HEAD", "/v1/models", Route::Models),
        ("GET", "/v1/models/a", Route::Model("a".to_owned())),
        ("GET", "/v1/models/org/name", Route::Model("org/name".to_owned())),
        ("GET", "/v1/models/org%2Fn%C3%A4me", Route::Model("org/näme".to_owned())),
        ("GET", "/health", Route::Health),
        ("GET", "/ready", Route::Ready),
    ] {
        assert_eq!(find(method, path).expect(path), expected);
    }
}

#[test]
fn a_wrong_method_is_told_the_right_one() {
    for (method, path, allowed) in [
        ("GET", "/v1/chat/completions", "POST"),
        ("OPTIONS", "/v1/chat/completions", "POST"),
        ("GET", "/v1/embeddings", "POST"),
        ("DELETE", "/v1/models/x", "GET, HEAD"),
        ("POST", "/health", "GET, HEAD"),
    ] {
        let error = find(method, path).expect_err(path);
        assert_eq!((error.status.as_u16(), error.allow), (405, Some(allowed)), "{method} {path}");
    }
}

#[test]
fn unknown_paths_are_told_what_there_is() {
    for path in [
        "/",
        "",
        "/v1",
        "/v1/",
        "/v1/models/",
        "/v1/chat/completions/",
        "/v1/models/%",
        "/v1/models/%zz",
        "/v1/models/%ff",
        "//v1/models",
        "/V1/models",
        "*",
    ] {
        let error = find("GET", path).expect_err(path);
        assert_eq!(error.status.as_u16(), 404, "{path}");
        assert!(error.message.contains("/v1/chat/completions"), "{path}: {}", error.message);
    }
}
