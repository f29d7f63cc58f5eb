//! What users, files and DNS may write: Services, URLs, pods' names, `resolv.conf`.
#![no_main]

use std::collections::BTreeSet;

use headless_mysql::discovery::fuzzing;
use headless_mysql::name::{SearchList, ServiceName, ordinal_of, pod_host};
use headless_mysql::url;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));

    let search = SearchList::parse(rest);
    for domain in search.domains() {
        assert_eq!(*domain, domain.to_ascii_lowercase());
        assert!(!domain.is_empty() && !domain.ends_with('.') && domain.len() <= 253);
    }
    assert!(search.ndots() <= 15);
    let servers = fuzzing::name_servers(rest);
    let distinct: BTreeSet<_> = servers.iter().collect();
    assert_eq!(servers.len(), distinct.len());

    if let Ok(service) = first.parse::<ServiceName>() {
        let shown = service.to_string();
        assert_eq!(shown.parse::<ServiceName>().as_ref(), Ok(&service));
        let candidates = service.candidates(&search);
        assert!(!candidates.is_empty());
        let distinct: BTreeSet<_> = candidates.iter().collect();
        assert_eq!(candidates.len(), distinct.len());
        for name in &candidates {
            assert!(name.ends_with('.') && !name.contains("..") && name.len() <= 254);
            assert!(name.starts_with(service.first_label()));
        }
        let service = &candidates[0];
        if let Some((ordinal, label)) = ordinal_of(rest, service, None) {
            let (set, _) = label.rsplit_once('-').unwrap();
            let host = pod_host(set, ordinal, service);
            assert_eq!(
                ordinal_of(&host, service, Some(set)),
                Some((ordinal, label))
            );
        }
    }

    if let Err(error) = url::parse(first) {
        // It is shown to people: that must not fail either.
        let _ = error.to_string();
    }
});
