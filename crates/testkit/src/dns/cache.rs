//! The `cache` plugin of CoreDNS.
//!
//! This module owns the cached answers, their lifetime, and the TTLs of all answers that pass
//! through the cache. It must never read a clock: callers pass the time in.

use std::collections::HashMap;
use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::time::Instant;

use super::answer::Answer;

/// The shortest lifetime of an entry, even if the TTL is less. SERVFAIL has exactly this lifetime.
const MIN_TTL: u32 = 5;

/// The name in lower case, the type, and whether the query asked for DNSSEC.
type Key = (String, RecordType, bool);

/// Cached answers.
#[derive(Debug)]
pub(super) struct Cache {
    /// The longest lifetime of an entry, in seconds.
    limit: u32,
    positive: HashMap<Key, Kept>,
    /// Negative answers. They take precedence over positive ones.
    negative: HashMap<Key, Kept>,
}

#[derive(Debug)]
struct Kept {
    answer: Answer,
    ttl: u32,
    since: Instant,
}

impl Cache {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit: u32::try_from(limit.as_secs()).unwrap_or(u32::MAX),
            positive: HashMap::new(),
            negative: HashMap::new(),
        }
    }

    /// A cached answer with its remaining TTL, or a new answer from `ask`, which is then cached.
    pub(super) fn answer(
        &mut self,
        (name, kind, dnssec_ok): (&Name, RecordType, bool),
        now: Instant,
        ask: impl FnOnce() -> Answer,
    ) -> Answer {
        let key = (name.to_ascii().to_ascii_lowercase(), kind, dnssec_ok);
        for kept in [self.negative.get(&key), self.positive.get(&key)] {
            if let Some(answer) = kept.and_then(|kept| kept.at(now)) {
                return answer;
            }
        }
        let answer = ask();
        let (is_negative, ttl) = match answer.response_code {
            ResponseCode::ServFail => (true, MIN_TTL),
            ResponseCode::NXDomain => (true, self.ttl_of(&answer)),
            ResponseCode::NoError => (answer.answers.is_empty(), self.ttl_of(&answer)),
            // Other response codes pass through unchanged and are not cached.
            _ => return answer,
        };
        let kept = Kept {
            answer: with_ttl(answer, ttl),
            ttl,
            since: now,
        };
        let answer = kept.answer.clone();
        let entries = match is_negative {
            true => &mut self.negative,
            false => &mut self.positive,
        };
        entries.insert(key, kept);
        answer
    }

    /// The lifetime of an answer: its smallest TTL, including the minimum of a SOA record, within
    /// the limits.
    fn ttl_of(&self, answer: &Answer) -> u32 {
        let sections = [&answer.answers, &answer.authority, &answer.additional];
        let ttls = sections
            .into_iter()
            .flatten()
            .map(|record| match &record.data {
                RData::SOA(soa) => record.ttl.min(soa.minimum),
                _ => record.ttl,
            });
        let least = ttls.min().unwrap_or(MIN_TTL);
        least.max(MIN_TTL).min(self.limit.max(MIN_TTL))
    }
}

impl Kept {
    /// The answer with its remaining TTL; `None` once the TTL is used up. The age is counted in
    /// whole seconds.
    fn at(&self, now: Instant) -> Option<Answer> {
        let age = now.saturating_duration_since(self.since).as_secs();
        let left = self.ttl.checked_sub(u32::try_from(age).ok()?)?;
        (left > 0).then(|| with_ttl(self.answer.clone(), left))
    }
}

fn with_ttl(mut answer: Answer, ttl: u32) -> Answer {
    let set = |record: &mut Record| record.ttl = ttl;
    answer.answers.iter_mut().for_each(set);
    answer.authority.iter_mut().for_each(set);
    answer.additional.iter_mut().for_each(set);
    answer
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::{A, SOA};

    use super::*;

    fn name() -> Name {
        Name::from_ascii("mysql.default.svc.cluster.local.").unwrap()
    }

    fn positive(ttl: u32) -> Answer {
        let record = Record::from_rdata(name(), ttl, RData::A(A([10, 244, 1, 5].into())));
        Answer::positive(vec![record], Vec::new())
    }

    fn negative(ttl: u32) -> Answer {
        let data = SOA::new(name(), name(), 1, 7200, 1800, 86_400, ttl);
        let soa = Record::from_rdata(name(), ttl, RData::SOA(data));
        Answer {
            authority: vec![soa],
            ..Answer::bare(ResponseCode::NXDomain)
        }
    }

    /// The cache's answer `after` seconds. The cache holds one answer, and the server would now
    /// give another. Returns whether the answer is the first one, and its TTL.
    fn after(limit: u64, first: Answer, seconds: f64) -> (bool, u32) {
        let mut cache = Cache::new(Duration::from_secs(limit));
        let start = Instant::now();
        let key = (&name(), RecordType::A, false);
        let primed = cache.answer(key, start, || first.clone());
        let now = start + Duration::from_secs_f64(seconds);
        let fresh = Answer::bare(ResponseCode::Refused);
        let got = cache.answer(key, now, || fresh.clone());
        let records = [
            &got.answers,
            &got.authority,
            &primed.answers,
            &primed.authority,
        ];
        let ttl = records
            .into_iter()
            .flatten()
            .next()
            .map(|record| record.ttl);
        (got != fresh, ttl.unwrap_or(0))
    }

    #[test]
    fn answers_age_by_the_second_until_less_than_one_is_left() {
        assert_eq!(after(30, positive(30), 0.0), (true, 30));
        assert_eq!(after(30, positive(30), 2.2), (true, 28));
        assert_eq!(after(30, positive(30), 29.9), (true, 1));
        assert!(!after(30, positive(30), 30.0).0);
        assert_eq!(after(30, negative(30), 2.2), (true, 28));
    }

    #[test]
    fn a_ttl_is_kept_between_five_seconds_and_the_limit() {
        assert_eq!(after(30, positive(0), 0.0), (true, 5));
        assert_eq!(after(30, positive(0), 4.9), (true, 1));
        assert!(!after(30, positive(0), 5.0).0);
        assert_eq!(after(30, positive(300), 0.0), (true, 30));
        assert_eq!(after(30, negative(0), 0.0), (true, 5));
    }

    #[test]
    fn a_failure_is_kept_for_five_seconds_and_a_refusal_not_at_all() {
        let failure = Answer::bare(ResponseCode::ServFail);
        assert!(after(30, failure.clone(), 4.9).0);
        assert!(!after(30, failure, 5.0).0);
        let mut cache = Cache::new(Duration::from_secs(30));
        let (name, now) = (name(), Instant::now());
        let key = (&name, RecordType::A, false);
        cache.answer(key, now, Answer::refused);
        let got = cache.answer(key, now, || positive(5));
        assert_eq!(got, positive(5));
    }

    #[test]
    fn what_is_not_there_hides_what_is() {
        let mut cache = Cache::new(Duration::from_secs(30));
        let (name, now) = (name(), Instant::now());
        let later = now + Duration::from_secs(10);
        let key = (&name, RecordType::A, false);
        cache.answer(key, now, || positive(10));
        cache.answer(key, later, || negative(30));
        let got = cache.answer(key, later, || positive(30));
        assert_eq!(got.response_code, ResponseCode::NXDomain);
        // Another type is a miss. The same name in upper case is a hit.
        let other = (&name, RecordType::AAAA, false);
        assert_eq!(cache.answer(other, later, || positive(30)), positive(30));
        let loud = Name::from_ascii(name.to_ascii().to_uppercase()).unwrap();
        let got = cache.answer((&loud, RecordType::A, false), later, || positive(30));
        assert_eq!(got.response_code, ResponseCode::NXDomain);
    }
}
