//! Texts that differ in whole numbers only have the same verdict.
//!
//! Programs that write values into their statements never send the same text twice. What the numbers are decides nothing in a
//! statement that only reads or writes rows: its [`Pattern`] is read once, and a text that fits it costs little more than one that
//! is known. Numbers are sought up to the first quote, comment, parameter or byte that is not ASCII; what stands behind
//! that belongs to the pattern as it is.

use std::rc::Rc;

use super::verdicts::Cached;
use crate::sql::lex::encoding::LexContext;
use crate::sql::statement::{Analysis, Kind, Refusal, Statement};

/// A longer text (bytes) is read each time.
const LONGEST: usize = 1024;

/// Patterns that are held; a power of two.
const HELD: usize = 256;

/// Texts whose memory is kept for others.
const SPARE: usize = 32;

/// What a byte is for a number that stands beside it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// It ends a word.
    Other,
    /// A digit beside it is part of the same word or number.
    Word,
    /// It is one, or part of one.
    Digit,
    /// Two of them may begin a comment.
    Dash,
    /// Nothing is a number from here on.
    Stop,
}

#[expect(clippy::indexing_slicing, reason = "the compiler evaluates it, and stops at an index that is wrong")]
const CLASSES: [Class; 256] = {
    let mut classes = [Class::Stop; 256];
    let mut byte = 0;
    while byte < 128 {
        classes[byte] = match byte as u8 {
            b'0'..=b'9' => Class::Digit,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'.' => Class::Word,
            b'-' | b'/' => Class::Dash,
            b'\'' | b'"' | b'$' | b'\\' | 0 => Class::Stop,
            _ => Class::Other,
        };
        byte += 1;
    }
    classes
};

#[inline]
fn class(byte: u8) -> Class {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Stop)
}

/// Bytes that are looked at together.
const CHUNK: usize = 8;

/// The highest bit of each of eight bytes that [`skeleton`] may have to look at, and of few others.
#[inline]
fn may_matter(bytes: [u8; CHUNK]) -> u64 {
    const HIGH: u64 = each(0x80);
    const fn each(byte: u8) -> u64 {
        u64::from_le_bytes([byte; CHUNK])
    }
    // Beside a byte that is zero one too many may be taken for zero, which costs a look.
    let zero = |word: u64| word.wrapping_sub(each(1)) & !word;
    let word = u64::from_le_bytes(bytes);
    let digits = word ^ each(b'0');
    let digit = !((digits & !HIGH).wrapping_add(each(0x80 - 10)) | digits);
    let comment = zero((word | each(2)) ^ each(b'/'));
    let quote = zero((word | each(5)) ^ each(b'\''));
    let other = zero(word ^ each(b'$')) | zero(word ^ each(b'\\')) | zero(word);
    (digit | comment | quote | other | word) & HIGH
}

/// The bytes of a text that may matter, one after the other.
struct Marks<'t> {
    text: &'t [u8],
    /// Where the chunk begins that was looked at last, and which of its bytes may matter.
    base: usize,
    marks: u64,
}

impl<'t> Marks<'t> {
    fn new(text: &'t [u8]) -> Self {
        let mut marks = Self { text, base: 0, marks: 0 };
        marks.look_at(0);
        marks
    }

    #[inline]
    fn look_at(&mut self, base: usize) {
        let rest = self.text.get(base..).unwrap_or_default();
        let chunk = rest.first_chunk().copied().unwrap_or_else(|| {
            let mut chunk = [b' '; CHUNK];
            chunk.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            chunk
        });
        (self.base, self.marks) = (base, may_matter(chunk));
    }

    /// The first at or behind that place, which lies no further back than any before; the end of the text if there is none.
    #[inline]
    fn next_from(&mut self, mut at: usize) -> usize {
        loop {
            let ahead = match at - self.base {
                behind if behind < CHUNK => self.marks >> (behind * 8),
                _ => 0,
            };
            if ahead != 0 {
                return at + (ahead.trailing_zeros() / 8) as usize;
            }
            at = at.max(self.base + CHUNK);
            if at >= self.text.len() {
                return self.text.len();
            }
            self.look_at(at);
        }
    }
}

/// Writes a text with `0` for each of its numbers. False: it has none.
fn skeleton(text: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let (mut at, mut copied) = (0, 0);
    let behind = |at: usize| text.get(at..).unwrap_or_default();
    let class_at = |at: usize| text.get(at).map_or(Class::Other, |byte| class(*byte));
    let mut marks = Marks::new(text);
    loop {
        at = marks.next_from(at);
        if at >= text.len() {
            break;
        }
        match class_at(at) {
            Class::Digit => {
                let before = at.checked_sub(1).map_or(Class::Other, class_at);
                let digits = behind(at).iter().take_while(|byte| byte.is_ascii_digit()).count();
                let end = at + digits;
                // What is not ASCII may be part of a word.
                let parted = |class: Class| matches!(class, Class::Other | Class::Dash | Class::Digit);
                if parted(before) && parted(class_at(end)) {
                    out.extend_from_slice(text.get(copied..at).unwrap_or_default());
                    out.push(b'0');
                    copied = end;
                }
                at = end;
            }
            Class::Dash if matches!(text.get(at..at + 2), Some(b"--" | b"/*")) => break,
            Class::Dash | Class::Other | Class::Word => at += 1,
            Class::Stop => break,
        }
    }
    out.extend_from_slice(text.get(copied..).unwrap_or_default());
    copied > 0
}

/// Whether the text is one statement on whose numbers nothing depends.
fn is_indifferent(text: &[u8], analysis: &Analysis) -> bool {
    let plain = |one: &Statement| {
        let begins = text.get(..one.tag.len()).is_some_and(|lead| lead.eq_ignore_ascii_case(one.tag.as_bytes()));
        begins
            && matches!(one.tag, "SELECT" | "INSERT" | "UPDATE" | "DELETE")
            && matches!(one.kind, Kind::Read | Kind::Write)
            && matches!(one.refusal, Refusal::Allowed | Refusal::ByPostgres { .. })
            && one.effects.is_empty()
            && !one.contained
            && one.span.start == 0
    };
    !analysis.ambiguous && analysis.single().is_some_and(plain)
}

/// A text with `0` for its numbers, and what is known of all that have it.
#[derive(Debug)]
struct Pattern {
    hash: u64,
    ctx: LexContext,
    skeleton: Box<[u8]>,
    /// The first text that had it.
    first: Rc<Cached>,
    /// Used since its neighbour made room last.
    used: bool,
}

/// Patterns of texts. Each has two places, by its hash; of two neighbours the one that was not used makes room.
#[derive(Debug, Default)]
pub(in crate::sql) struct Patterns {
    held: Box<[Option<Pattern>]>,
    skeleton: Vec<u8>,
    /// Texts that have run: their memory is used again.
    spare: Vec<Rc<Cached>>,
}

impl Patterns {
    /// Bytes that they may come to take.
    pub const BYTES: usize = HELD * (LONGEST + size_of::<Pattern>()) + SPARE * (LONGEST + size_of::<Cached>());

    /// Looks for the pattern of a text; gives its hash, if it has one.
    pub fn seek(&mut self, text: &[u8], hash: impl FnOnce(&[u8]) -> u64) -> Option<u64> {
        let has = text.len() <= LONGEST && skeleton(text, &mut self.skeleton);
        has.then(|| hash(&self.skeleton))
    }

    /// What is known of the text whose pattern was sought last, from one that had it earlier.
    pub fn find(&mut self, hash: u64, ctx: LexContext, text: &[u8]) -> Option<Rc<Cached>> {
        let skeleton = self.skeleton.as_slice();
        let fits = |known: &Pattern| known.hash == hash && known.ctx == ctx && *known.skeleton == *skeleton;
        let [one, other] = places(hash);
        let at =
            [one, other].into_iter().find(|at| self.held.get(*at).is_some_and(|one| one.as_ref().is_some_and(fits)))?;
        let known = self.held.get_mut(at)?.as_mut()?;
        known.used = true;
        let (first, end) = (&known.first, end_in(&known.first, text)?);
        let spare = self.spare.iter().rposition(|spare| spare.is_kin_of(first));
        if let Some(mut spare) = spare.map(|at| self.spare.swap_remove(at))
            && let Some(place) = Rc::get_mut(&mut spare)
        {
            place.become_alike(text, end);
            return Some(spare);
        }
        let mut statement = first.analysis.single()?.clone();
        statement.span.end = end;
        Some(Rc::new(Cached::alike(text, statement, first.clone())))
    }

    /// Takes the memory of a text back that has run.
    pub fn give_back(&mut self, mut cached: Rc<Cached>) {
        if cached.is_alike() && Rc::get_mut(&mut cached).is_some() {
            if self.spare.len() >= SPARE {
                self.spare.swap_remove(0);
            }
            self.spare.push(cached);
        }
    }

    /// Notes what is known of the text whose pattern was sought last.
    pub fn keep(&mut self, hash: u64, ctx: LexContext, first: &Rc<Cached>) {
        if !is_indifferent(&first.text, &first.analysis) {
            return;
        }
        if self.held.is_empty() {
            self.held = (0..HELD).map(|_| None).collect();
        }
        let places = places(hash);
        let used = |at: &usize| self.held.get(*at).is_some_and(|one| one.as_ref().is_some_and(|one| one.used));
        let at = if used(&places[0]) { places[1] } else { places[0] };
        for place in places {
            if let Some(Some(neighbour)) = self.held.get_mut(place) {
                neighbour.used = false;
            }
        }
        let pattern =
            Pattern { hash, ctx, skeleton: self.skeleton.as_slice().into(), first: first.clone(), used: true };
        if let Some(place) = self.held.get_mut(at) {
            *place = Some(pattern);
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.held = Box::default();
        self.spare.clear();
    }
}

/// Where the pattern of that hash may be.
fn places(hash: u64) -> [usize; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "its lowest bits are wanted")]
    let at = hash as usize & (HELD - 1);
    [at, at ^ 1]
}

/// Where the statement ends in a text that `first` is like: nothing else of the verdict differs.
fn end_in(first: &Cached, text: &[u8]) -> Option<u32> {
    let behind = first.text.len().checked_sub(first.analysis.single()?.span.end as usize)?;
    u32::try_from(text.len().checked_sub(behind)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::cache::verdicts::VerdictCache;
    use crate::sql::classify::analyzer::Analyzer;

    fn of(text: &str) -> Option<String> {
        let mut out = Vec::new();
        skeleton(text.as_bytes(), &mut out).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_text_that_fits_is_judged_as_if_it_had_been_read() {
        let texts = [
            "SELECT abalance FROM t WHERE aid = 1 ; ",
            "UPDATE t SET a = a + 1 WHERE b = 2",
            "INSERT INTO t (a, b) VALUES (1, -2) ; -- 3",
            "DELETE FROM t WHERE a < 1",
            "SELECT lower(v), 1 FROM t FOR UPDATE",
            "SELECT my_own(1)",
            "SELECT nextval('s'), 1",
            "SELECT 1, set_config('work_mem', '2', false)",
            "SELECT pg_advisory_lock(1)",
            "SELECT lo_unlink(1)",
            "SELECT 1; SELECT 2",
            "SET work_mem = 1",
            "SELECT count(*) FROM pg_stat_activity WHERE pid = 1",
            "EXPLAIN SELECT 1",
            "SELECT 1 INTO t",
        ];
        let analyzer = Analyzer::default();
        let ctx = LexContext::default();
        let mut cache = VerdictCache::new(analyzer.clone(), 8 << 20);
        let mut fitting = 0;
        for text in texts {
            for number in ["1", "77", "0", "1234567890"] {
                let text = text.replace('1', number);
                let before = cache.stats().misses;
                let cached = cache.get_or_analyze(text.as_bytes(), ctx);
                assert_eq!(*cached.text, *text.as_bytes());
                assert_eq!(cached.analysis, analyzer.analyze(text.as_bytes(), ctx), "{text}");
                fitting += usize::from(cache.stats().misses == before);
                // Its memory is the next one's, unless somebody has it still.
                let kept = (number == "0").then(|| cached.clone());
                cache.give_back(cached);
                let next = cache.get_or_analyze(text.replace(number, "31").as_bytes(), ctx);
                assert_eq!(*next.text, *text.replace(number, "31").as_bytes());
                assert!(kept.is_none_or(|kept| *kept.text == *text.as_bytes()));
            }
        }
        // The first is read, that with 31 too and kept, the others fit: of the first four, my_own() and pg_stat_activity.
        assert_eq!(fitting, 3 * 6);
    }

    #[test]
    fn of_two_neighbours_the_one_in_use_stays() {
        let mut patterns = Patterns::default();
        let ctx = LexContext::default();
        let first =
            |text: &str| Rc::new(Cached::new(text.as_bytes(), Analyzer::default().analyze(text.as_bytes(), ctx)));
        let put = |patterns: &mut Patterns, text: &str| {
            let hash = patterns.seek(text.as_bytes(), |_| 4).unwrap();
            if patterns.find(hash, ctx, text.as_bytes()).is_none() {
                patterns.keep(hash, ctx, &first(text));
                return false;
            }
            true
        };
        assert!(!put(&mut patterns, "SELECT 1") && !put(&mut patterns, "SELECT 1, 1"));
        assert!(put(&mut patterns, "SELECT 2") && put(&mut patterns, "SELECT 2, 3"));
        // A third takes the place of one of them, and then of nobody who is in use.
        assert!(!put(&mut patterns, "SELECT 1, 1, 1") && put(&mut patterns, "SELECT 4, 5, 6"));
        assert_eq!(patterns.held.iter().flatten().count(), 2);
    }

    #[test]
    fn bytes_that_matter_are_found() {
        for byte in 0..=255 {
            let found = may_matter([b' ', byte, b'a', b'Z', b',', b'(', b'.', b'_']);
            assert!(found >> 8 & 0x80 != 0 || matches!(class(byte), Class::Other | Class::Word), "{byte}");
            // Words and blanks cost nothing.
            assert!(found & !(0x80 << 8) == 0 || byte == 0, "{byte} {found:x}");
        }
        for (at, length) in (0..40).flat_map(|at| (at + 1..50).map(move |length| (at, length))) {
            let text = format!("{}1{}", "x".repeat(at), "y".repeat(length - at - 1));
            for from in 0..=length {
                let found = Marks::new(text.as_bytes()).next_from(from);
                assert_eq!(found, if from <= at { at } else { length }, "{at} {length} {from}");
            }
        }
    }

    #[test]
    fn whole_numbers_and_nothing_else_are_left_out() {
        for (text, pattern) in [
            ("SELECT abalance FROM t WHERE aid = 12345;", Some("SELECT abalance FROM t WHERE aid = 0;")),
            ("select 1", Some("select 0")),
            ("select 1, 23,x+456-7", Some("select 0, 0,x+0-0")),
            ("UPDATE t1 SET a = a + -17 WHERE b2 = 3", Some("UPDATE t1 SET a = a + -0 WHERE b2 = 0")),
            ("select 10 'a 11', 12", Some("select 0 'a 11', 12")),
            ("select 10, $1, 12", Some("select 0, $1, 12")),
            ("select 10 -- 11\n, 12", Some("select 0 -- 11\n, 12")),
            ("select 10 /* 11 */, 12", Some("select 0 /* 11 */, 12")),
            ("select 10, \"a 1\"", Some("select 0, \"a 1\"")),
            ("select 10, 1.5, 2e3, 0x1F, 1_000, .5, 5., a1, x_2, 1..3", None),
            ("select a[1:22], int4(3)", Some("select a[0:0], int4(0)")),
            ("select 'x', 1", None),
            ("select x", None),
            ("", None),
        ] {
            let pattern = pattern
                .or_else(|| text.contains("1_000").then_some("select 0, 1.5, 2e3, 0x1F, 1_000, .5, 5., a1, x_2, 1..3"));
            assert_eq!(of(text).as_deref(), pattern, "{text}");
        }
    }
}
