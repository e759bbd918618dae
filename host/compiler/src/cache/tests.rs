use std::os::unix::fs::PermissionsExt as _;

use super::*;

const KEY: Key = Key([7; 32]);

fn read(cache: &Cache) -> Option<Vec<u8>> {
    cache.read(&KEY).map(|kept| kept.bytes().to_vec())
}

fn filled() -> (tempfile::TempDir, Cache) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cache = Cache::open(&folder.path().join("cache")).expect("it opens");
    cache.write(&KEY, &Trusted::vouch(b"machine code".to_vec()));
    (folder, cache)
}

#[test]
fn what_was_written_is_read_also_by_the_next_host() {
    let (_folder, cache) = filled();
    assert_eq!(read(&cache).as_deref(), Some(&b"machine code"[..]));
    let next = Cache::open(&cache.folder).expect("it opens");
    assert_eq!(read(&next).as_deref(), Some(&b"machine code"[..]));
    assert_eq!(cache.read(&Key([8; 32])).map(|kept| kept.bytes().len()), None);
    let mode = fs::metadata(&cache.folder).expect("it is there").mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_forged_damaged_cut_or_renamed_file_is_not_used() {
    let (_folder, cache) = filled();
    let path = cache.path(&KEY);
    let good = fs::read(&path).expect("it is there");
    let mut forged = good.clone();
    forged[0] ^= 1;
    let other = Cache { secret: [1; KEY_BYTES], folder: cache.folder.clone() };
    other.write(&KEY, &Trusted::vouch(b"machine code".to_vec()));
    let by_another_key = fs::read(&path).expect("it is there");
    for bytes in [forged, by_another_key, good[..good.len() - 1].to_vec(), b"short".to_vec(), Vec::new()] {
        fs::write(&path, &bytes).expect("it is written");
        assert_eq!(read(&cache), None);
    }
    fs::write(&path, &good).expect("it is written");
    fs::rename(&path, cache.path(&Key([9; 32]))).expect("it is renamed");
    assert!(cache.read(&Key([9; 32])).is_none(), "another component's name");
}

#[test]
fn a_folder_or_key_that_others_may_write_to_is_refused() {
    let (_folder, cache) = filled();
    fs::set_permissions(&cache.folder, fs::Permissions::from_mode(0o777)).expect("it is ours");
    assert!(Cache::open(&cache.folder).is_err());
    fs::set_permissions(&cache.folder, fs::Permissions::from_mode(0o700)).expect("it is ours");
    let key = cache.folder.join(KEY_FILE);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o666)).expect("it is ours");
    assert!(Cache::open(&cache.folder).is_err());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("it is ours");
    fs::write(&key, b"short").expect("it is written");
    let error = Cache::open(&cache.folder).err().expect("no key");
    assert!(error.to_string().contains("delete it"), "{error}");
}

#[test]
fn the_oldest_go_when_there_are_too_many() {
    let (_folder, cache) = filled();
    for number in 0..FILES_MAX as u8 + 10 {
        cache.write(&Key([number; 32]), &Trusted::vouch(vec![number]));
    }
    let files = fs::read_dir(&cache.folder).expect("it is there").count();
    assert_eq!(files, FILES_MAX + 1, "and the key");
}
