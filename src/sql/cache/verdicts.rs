//! Verdicts by statement text, so that a repeated statement costs a hash and a comparison.
//!
//! One per core, without locks. Bounded in bytes; when full, the second-chance rule makes room: a hand goes round the
//! entries, spares those used since it last came by, and drops the first that was not. Room is made only for a text that comes
//! again soon: texts with literals in them come once, and would cost more to keep than to read. Of those that differ in numbers
//! only `pattern` keeps one. The hash is keyed at random and the whole text is compared, because a fast hash can be collided on
//! purpose.

use super::number_patterns::Patterns;
use crate::sql::classify::analyzer::Analyzer;
use crate::sql::hidden_writers::Marks;
use crate::sql::lex::encoding::LexContext;
use crate::sql::statement::{Analysis, Statement};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::cell::Cell;
use std::hash::{BuildHasher, Hash, Hasher};
use std::rc::Rc;

/// A text and its verdicts.
#[derive(Debug)]
pub struct Cached {
    /// The text as the client sent it.
    pub text: Vec<u8>,
    /// What it says.
    pub analysis: Analysis,
    /// What it leaves behind by what it names, by the reading of a catalog with that number.
    marks: Cell<(u64, Marks)>,
    /// Whether it has to run on the primary by what it names, by such a reading.
    primary: Cell<(u64, bool)>,
    /// Twice the number of the reading of a catalog by which it is known whether it is clean, and one more if it is.
    clean: Cell<u64>,
    /// The text that it differs from in numbers only; what is found out later of one is so for both.
    kin: Option<Rc<Cached>>,
}

impl Cached {
    pub(in crate::sql) fn new(text: &[u8], analysis: Analysis) -> Self {
        let text = text.into();
        Self { text, analysis, marks: Cell::default(), primary: Cell::default(), clean: Cell::new(0), kin: None }
    }

    /// A text of so many bytes that is not kept, since it is too long to be read.
    pub fn unread(length: usize) -> Self {
        Self::new(b"", Analyzer::unread(length))
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.text.len() + self.analysis.heap_bytes()
    }

    /// A text that differs from another in numbers only.
    pub(in crate::sql) fn alike(text: &[u8], statement: Statement, kin: Rc<Cached>) -> Self {
        let analysis = Analysis { statements: Box::new([statement]), ambiguous: false };
        Self { kin: Some(kin), ..Self::new(text, analysis) }
    }

    /// Becomes another text of the same kin, whose statement ends there, in the memory of one that nobody needs any more.
    pub(in crate::sql) fn become_alike(&mut self, text: &[u8], end: u32) {
        if let [statement] = &mut *self.analysis.statements {
            statement.span.end = end;
        }
        self.text.clear();
        self.text.extend_from_slice(text);
    }

    /// Whether it was made from what is known of that text.
    pub(in crate::sql) fn is_kin_of(&self, first: &Rc<Cached>) -> bool {
        self.kin.as_ref().is_some_and(|kin| Rc::ptr_eq(kin, first))
    }

    /// Whether it was made for one use, from what is known of its kin.
    pub(in crate::sql) fn is_alike(&self) -> bool {
        self.kin.is_some()
    }

    fn marks(&self) -> &Cell<(u64, Marks)> {
        self.kin.as_deref().map_or(&self.marks, |kin| &kin.marks)
    }

    fn clean(&self) -> &Cell<u64> {
        self.kin.as_deref().map_or(&self.clean, |kin| &kin.clean)
    }

    /// Whether it is known to write nothing, by the reading of a catalog with that number; None: it has not been found out.
    #[inline]
    pub fn known_clean(&self, reading: u64) -> Option<bool> {
        let known = self.clean().get();
        (reading != 0 && known >> 1 == reading).then_some(known & 1 == 1)
    }

    /// Notes that.
    pub fn note_clean(&self, reading: u64, clean: bool) {
        self.clean().set(reading << 1 | u64::from(clean));
    }

    /// What it leaves behind by what it names, by the reading of a catalog with that number.
    pub fn known_marks(&self) -> (u64, Marks) {
        self.marks().get()
    }

    /// Whether it has to run on the primary by what it names, by the reading of a catalog with that number.
    pub fn known_primary(&self) -> (u64, bool) {
        self.kin.as_deref().map_or(&self.primary, |kin| &kin.primary).get()
    }

    /// Notes that.
    pub fn note_primary(&self, reading: u64, primary: bool) {
        self.kin.as_deref().map_or(&self.primary, |kin| &kin.primary).set((reading, primary));
    }

    /// Notes that.
    pub fn note_marks(&self, reading: u64, marks: Marks) {
        self.marks().set((reading, marks));
    }
}

/// Counters of a cache; they only grow, but for `bytes` and `entries`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CacheStats {
    /// Texts found.
    pub hits: u64,
    /// Texts that had to be read.
    pub misses: u64,
    /// Entries dropped to make room.
    pub evictions: u64,
    /// Bytes held: texts, verdicts and the fixed cost of each entry.
    pub bytes: usize,
    /// Entries held.
    pub entries: usize,
}

#[derive(Debug)]
struct Slot {
    hash: u64,
    ctx: LexContext,
    value: Rc<Cached>,
    bytes: usize,
    /// Used since the hand last passed.
    used: bool,
}

/// Bytes an entry costs beside its text and statements: its slot, the counted pointer and its share of the table.
const ENTRY_OVERHEAD: usize = size_of::<Slot>() + size_of::<Cached>() + 48;

/// Texts that are remembered as read and not kept; a power of two.
const LATELY: usize = 2048;

/// Patterns are held if they take no more than this part of the cache.
const PATTERNS_SHARE: usize = 8;

/// A text longer than this part of the cache is read each time and not kept.
const LARGEST_SHARE: usize = 16;

/// The cache. Not shared between threads.
#[derive(Debug)]
pub struct VerdictCache {
    analyzer: Analyzer,
    limit: usize,
    table: HashTable<usize>,
    slots: Vec<Slot>,
    hand: usize,
    hasher: RandomState,
    /// Hashes of texts that were read lately and not kept, each at the place that its lowest bits name.
    lately: Box<[u64]>,
    /// What texts without their numbers say; None where there is no room for it.
    patterns: Option<Patterns>,
    stats: CacheStats,
}

fn hash_of(hasher: &RandomState, text: &[u8], ctx: LexContext) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(text);
    ctx.hash(&mut state);
    state.finish()
}

/// Whether a text of that hash was read lately; from now on it was.
fn comes_again(lately: &mut Box<[u64]>, hash: u64) -> bool {
    if lately.is_empty() {
        *lately = vec![0; LATELY].into_boxed_slice();
    }
    #[expect(clippy::cast_possible_truncation, reason = "its lowest bits are wanted")]
    let at = hash as usize & (LATELY - 1);
    lately.get_mut(at).is_some_and(|known| std::mem::replace(known, hash) == hash)
}

impl VerdictCache {
    /// A cache that holds at most `limit` bytes; 0 keeps nothing.
    pub fn new(analyzer: Analyzer, limit: usize) -> Self {
        let patterns = (limit / PATTERNS_SHARE >= Patterns::BYTES).then(Patterns::default);
        let limit = limit - patterns.as_ref().map_or(0, |_| Patterns::BYTES);
        let (table, slots, stats) = (HashTable::new(), Vec::new(), CacheStats::default());
        let hasher = RandomState::default();
        Self { analyzer, limit, table, slots, hand: 0, hasher, lately: Box::default(), patterns, stats }
    }

    /// The verdicts on a text: kept ones, or read now.
    pub fn get_or_analyze(&mut self, text: &[u8], ctx: LexContext) -> Rc<Cached> {
        // A text with numbers in it is seldom the very one that came before: its pattern is sought first.
        let patterns = &mut self.patterns;
        let pattern =
            patterns.as_mut().and_then(|patterns| patterns.seek(text, |text| hash_of(&self.hasher, text, ctx)));
        if let (Some(pattern), Some(patterns)) = (pattern, patterns)
            && let Some(value) = patterns.find(pattern, ctx, text)
        {
            self.stats.hits += 1;
            return value;
        }
        let hash = hash_of(&self.hasher, text, ctx);
        let slots = &mut self.slots;
        let same = |at: &usize| {
            slots.get(*at).is_some_and(|slot| slot.hash == hash && slot.ctx == ctx && *slot.value.text == *text)
        };
        let found = self.table.find(hash, same).copied();
        if let Some(slot) = found.and_then(|at| slots.get_mut(at)) {
            self.stats.hits += 1;
            slot.used = true;
            return Rc::clone(&slot.value);
        }
        self.stats.misses += 1;
        let value = Rc::new(Cached::new(text, self.analyzer.analyze(text, ctx)));
        if let (Some(pattern), Some(patterns)) = (pattern, &mut self.patterns)
            && comes_again(&mut self.lately, pattern)
        {
            patterns.keep(pattern, ctx, &value);
        }
        let bytes = ENTRY_OVERHEAD + text.len() + value.analysis.heap_bytes();
        let room = self.stats.bytes + bytes <= self.limit;
        if bytes <= self.limit / LARGEST_SHARE && (room || comes_again(&mut self.lately, hash)) {
            self.keep(Slot { hash, ctx, value: Rc::clone(&value), bytes, used: false });
        }
        value
    }

    /// Takes the memory of a text back that has run, for the next that is like it.
    pub fn give_back(&mut self, cached: Rc<Cached>) {
        if let Some(patterns) = &mut self.patterns {
            patterns.give_back(cached);
        }
    }

    /// Forgets everything and reads by another list from now on.
    pub fn replace_analyzer(&mut self, analyzer: Analyzer) {
        self.analyzer = analyzer;
        self.table.clear();
        self.slots.clear();
        self.hand = 0;
        if let Some(patterns) = &mut self.patterns {
            patterns.clear();
        }
        self.stats.bytes = 0;
        self.stats.entries = 0;
    }

    /// The counters.
    pub fn stats(&self) -> CacheStats {
        self.stats
    }

    fn keep(&mut self, slot: Slot) {
        while self.stats.bytes + slot.bytes > self.limit && !self.slots.is_empty() {
            self.evict();
        }
        self.stats.bytes += slot.bytes;
        self.stats.entries += 1;
        let slots = &self.slots;
        let rehash = |at: &usize| slots.get(*at).map_or(0, |slot| slot.hash);
        self.table.insert_unique(slot.hash, slots.len(), rehash);
        self.slots.push(slot);
    }

    /// Drops one entry. Each step of the hand clears a mark that a hit has set, so steps are paid for by hits.
    fn evict(&mut self) {
        loop {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            match self.slots.get_mut(self.hand) {
                Some(slot) if slot.used => {
                    slot.used = false;
                    self.hand += 1;
                }
                Some(_) => break,
                None => return,
            }
        }
        let last = self.slots.len() - 1;
        let gone = self.slots.swap_remove(self.hand);
        self.forget(gone.hash, self.hand);
        if let Some(moved) = self.slots.get(self.hand) {
            if let Ok(entry) = self.table.find_entry(moved.hash, |at| *at == last) {
                *entry.into_mut() = self.hand;
            }
            // The entry that took its place is the youngest: it has its turn when the hand comes round.
            self.hand += 1;
        }
        self.stats.bytes -= gone.bytes;
        self.stats.entries -= 1;
        self.stats.evictions += 1;
    }

    fn forget(&mut self, hash: u64, slot: usize) {
        if let Ok(entry) = self.table.find_entry(hash, |at| *at == slot) {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::lex::encoding::StandardStrings;

    fn cache(limit: usize) -> VerdictCache {
        VerdictCache::new(Analyzer::default(), limit)
    }

    #[test]
    fn a_text_is_read_once_for_each_context() {
        let mut cache = cache(1 << 20);
        let on = LexContext::default();
        let off = LexContext { strings: StandardStrings::Off, ..on };
        let first = cache.get_or_analyze(b"select 1", on);
        assert!(Rc::ptr_eq(&first, &cache.get_or_analyze(b"select 1", on)));
        assert!(!Rc::ptr_eq(&first, &cache.get_or_analyze(b"select 1", off)));
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses, stats.entries), (1, 2, 2));
        cache.replace_analyzer(Analyzer::default());
        assert_eq!((cache.stats().entries, cache.stats().bytes), (0, 0));
        assert!(!Rc::ptr_eq(&first, &cache.get_or_analyze(b"select 1", on)));
    }

    #[test]
    fn the_bound_in_bytes_holds_and_used_entries_stay() {
        let limit = 64 << 10;
        let mut cache = cache(limit);
        let hot = cache.get_or_analyze(b"select 'hot'", LexContext::default());
        for i in 0..5_000 {
            let text = format!("select {i}");
            // Once it is full, only what comes again is kept.
            for _ in 0..if cache.stats().bytes + 1024 > limit { 2 } else { 1 } {
                let read = cache.get_or_analyze(text.as_bytes(), LexContext::default());
                assert_eq!(*read.text, *text.as_bytes());
            }
            assert!(Rc::ptr_eq(&hot, &cache.get_or_analyze(b"select 'hot'", LexContext::default())), "{i}");
            let held: usize = cache.slots.iter().map(|s| s.bytes).sum();
            assert_eq!((held, cache.slots.len()), (cache.stats.bytes, cache.stats.entries));
            assert!(held <= limit && cache.table.len() == cache.slots.len());
        }
        let stats = cache.stats();
        assert!(stats.evictions > 4_000 && stats.entries > 50, "{stats:?}");
        // Every entry can still be found: the table and the slots agree.
        let texts: Vec<_> = cache.slots.iter().map(|s| Rc::clone(&s.value)).collect();
        let before = cache.stats().misses;
        for kept in texts {
            assert!(Rc::ptr_eq(&kept, &cache.get_or_analyze(&kept.text, LexContext::default())));
        }
        assert_eq!(cache.stats().misses, before);
    }

    #[test]
    fn a_text_that_comes_once_pushes_none_out() {
        let mut cache = cache(64 << 10);
        let mut i = 0;
        let mut once = |cache: &mut VerdictCache| {
            i += 1;
            cache.get_or_analyze(format!("select {i}").as_bytes(), LexContext::default());
        };
        while cache.stats().misses < 10_000 {
            once(&mut cache);
        }
        let full = cache.stats();
        assert!(full.evictions < 100 && full.entries > 50, "{full:?}");
        let again = |cache: &mut VerdictCache| cache.get_or_analyze(b"select 'again'", LexContext::default());
        again(&mut cache);
        let kept = again(&mut cache);
        assert!(Rc::ptr_eq(&kept, &again(&mut cache)));
    }

    #[test]
    fn a_collision_of_hashes_is_not_a_hit() {
        let mut cache = cache(1 << 20);
        let ctx = LexContext::default();
        let harmless = cache.get_or_analyze(b"select 1", ctx);
        let hash = hash_of(&cache.hasher, b"delete from t", ctx);
        cache.keep(Slot { hash, ctx, value: harmless, bytes: 100, used: false });
        assert_eq!(cache.get_or_analyze(b"delete from t", ctx).analysis.statements[0].tag, "DELETE");
    }

    #[test]
    fn a_long_text_is_read_but_not_kept() {
        let mut cache = cache(64 << 10);
        let long = format!("select '{}'", "x".repeat(8 << 10));
        assert!(cache.get_or_analyze(long.as_bytes(), LexContext::default()).analysis.is_proven_read());
        assert_eq!(cache.stats().entries, 0);
        assert_eq!(super::VerdictCache::new(Analyzer::default(), 0).stats().bytes, 0);
    }
}
