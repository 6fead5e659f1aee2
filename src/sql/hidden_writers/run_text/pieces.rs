//! The parts that a text is put together of, and what they make: constants, quoted names and values, what is given, and texts of
//! which it is one.

use super::built::Built;

/// One part of a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(Vec<u8>),
    /// A name or value that is quoted where it has to be, and how what it was made of is built.
    Quoted(Built),
    /// What nobody can choose: the digits of a number, the letters of a time.
    Number,
    /// What the function is given.
    Given,
    /// An array, of whose elements each is one of these. It is no text before it has been made one.
    Array(Vec<Vec<Piece>>),
    /// One of several texts, as those that a variable has or the branches of a CASE: of what kind they are, whether each of them ends
    /// outside quotes, and how they begin and end.
    Variable(Built, bool, Edges),
    /// It may be anything.
    Open,
}

/// How the texts that a part may be begin and end.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one fact about a text, and they hold together")]
pub(super) struct Edges {
    /// With a letter.
    first: bool,
    last: bool,
    /// There may be none.
    empty: bool,
    /// With a parenthesis, which would call what stands ahead.
    call: bool,
    /// With a quoted name: where a statement begins it would say which.
    name: bool,
}

impl Edges {
    pub const UNKNOWN: Self = Self { first: true, last: true, empty: true, call: false, name: false };

    fn of(pieces: &[Piece]) -> Self {
        let full = || pieces.iter().filter(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        let letter = |piece: Option<&Piece>, byte: fn(&[u8]) -> Option<&u8>| match piece {
            Some(Piece::Text(text)) => byte(text).copied().is_some_and(is_letter),
            Some(_) => true,
            None => false,
        };
        Self {
            first: letter(full().next(), <[u8]>::first),
            last: letter(full().next_back(), <[u8]>::last),
            empty: !full().any(|piece| matches!(piece, Piece::Text(_) | Piece::Quoted(_) | Piece::Number)),
            call: matches!(full().next(), Some(Piece::Text(text)) if begins_call(text)),
            name: begins_with_name(pieces),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            first: self.first | other.first,
            last: self.last | other.last,
            empty: self.empty | other.empty,
            call: self.call | other.call,
            name: self.name | other.name,
        }
    }
}

fn is_empty(piece: &Piece) -> bool {
    matches!(piece, Piece::Text(text) if text.is_empty())
}

/// Whether a text begins with a quoted name.
fn begins_with_name(pieces: &[Piece]) -> bool {
    match pieces.iter().find(|piece| !is_empty(piece)) {
        Some(Piece::Quoted(_)) => true,
        Some(Piece::Variable(_, _, edges)) => edges.name,
        _ => false,
    }
}

/// One of several texts.
pub(super) fn one_of(all: &[Vec<Piece>]) -> Piece {
    let word = |text: &[u8]| !text.is_empty() && text.iter().all(|byte| is_letter(*byte));
    let quoted = all.iter().map(|pieces| match &**pieces {
        [Piece::Quoted(inner)] => Some(*inner),
        [Piece::Text(text)] if word(text) => Some(Built::Constant),
        _ => None,
    });
    if !all.is_empty() && all.iter().all(|pieces| matches!(&**pieces, [Piece::Number])) {
        return Piece::Number;
    }
    if all.iter().any(|pieces| matches!(&**pieces, [Piece::Quoted(_)]))
        && let Some(inner) = quoted.collect::<Option<Vec<_>>>()
    {
        return Piece::Quoted(inner.into_iter().max().unwrap_or_default());
    }
    let (mut worst, mut balanced) = (Built::Constant, true);
    let mut edges = Edges { first: false, last: false, empty: all.is_empty(), call: false, name: false };
    for pieces in all {
        let (built, ends_plain) = match begins_with_name(pieces) {
            // What stands ahead of it is looked at where it is used.
            true => built_and_balanced(&[&[Piece::Text(b"x ".to_vec())], &**pieces].concat()),
            false => built_and_balanced(pieces),
        };
        (worst, balanced) = (worst.max(built), balanced && ends_plain);
        edges = edges.or(Edges::of(pieces));
    }
    if worst < Built::Open { Piece::Variable(worst, balanced, edges) } else { Piece::Open }
}

/// What a variable becomes that begins as one of these constants and to which these parts are added, in whatever order and number.
pub(super) fn grown(bases: &[Vec<u8>], added: &[Vec<Piece>]) -> Piece {
    let texts = || {
        added.iter().flatten().filter_map(|piece| match piece {
            Piece::Text(text) => Some(&**text),
            _ => None,
        })
    };
    let edge = |text: &[u8]| text.last().is_some_and(|byte| b"-/*$\\".contains(byte));
    let ends_in_word = |text: &[u8]| text.trim_ascii_end().last().copied().is_some_and(is_letter);
    let word_ahead = bases.iter().any(|base| ends_in_word(base))
        || added.iter().any(|pieces| match pieces.iter().rfind(|piece| !is_empty(piece)) {
            Some(Piece::Text(text)) => ends_in_word(text),
            _ => true,
        });
    let letter_ahead = bases.iter().any(|base| base.last().copied().is_some_and(is_letter))
        || added.iter().any(|pieces| match pieces.iter().rfind(|piece| !is_empty(piece)) {
            Some(Piece::Text(text)) => text.last().copied().is_some_and(is_letter),
            // Letters behind it make another name of it.
            Some(Piece::Quoted(_)) | None => false,
            Some(_) => true,
        });
    let meet = added.iter().any(|pieces| match pieces.iter().find(|piece| !is_empty(piece)) {
        Some(Piece::Text(text)) => {
            letter_ahead && text.first().copied().is_some_and(is_letter) || word_ahead && begins_call(text)
        }
        Some(Piece::Quoted(_)) => false,
        Some(Piece::Number) => letter_ahead,
        _ => true,
    });
    let runs = texts().any(|text| memchr::memmem::find(&text.to_ascii_lowercase(), b"execute").is_some());
    if meet || runs || texts().any(edge) || bases.iter().any(|base| edge(base)) {
        return Piece::Open;
    }
    let mut all: Vec<Vec<Piece>> = bases.iter().map(|base| vec![Piece::Text(base.clone())]).collect();
    for base in bases {
        let whole = |pieces: &Vec<Piece>| [&[Piece::Text(base.clone())], &**pieces].concat();
        all.extend(added.iter().map(whole));
    }
    let open = added.iter().flatten().any(|piece| *piece == Piece::Quoted(Built::Open));
    match one_of(&all) {
        // What one of them leaves open stands ahead of the others.
        Piece::Variable(built, false, _) if open || built == Built::Constant => Piece::Open,
        Piece::Variable(_, false, edges) => Piece::Variable(Built::Given, false, edges),
        other => other,
    }
}

/// What the parts make together.
pub(super) fn built(pieces: &[Piece]) -> Built {
    built_and_balanced(pieces).0
}

/// The same, and whether the text ends outside quotes whatever it is given.
fn built_and_balanced(pieces: &[Piece]) -> (Built, bool) {
    let full: Vec<&Piece> =
        pieces.iter().filter(|piece| !matches!(piece, Piece::Text(text) if text.is_empty())).collect();
    let open = (Built::Open, false);
    if let [Piece::Variable(alone, balanced, edges)] = &*full {
        return if edges.name { open } else { (*alone, *balanced) };
    }
    let unknown_edges = Edges::UNKNOWN;
    let mut worst = Built::Constant;
    // The constants ahead of a part, as one text; and whether something stands among them that may open a quote.
    let (mut ahead, mut unknown) = (Vec::<u8>::new(), false);
    for (at, piece) in full.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| full.get(at)).copied();
        let behind = full.get(at + 1).copied();
        let edges = if let Piece::Variable(_, _, edges) = piece { edges } else { &unknown_edges };
        let words = || is_behind_name(at.checked_sub(2).and_then(|at| full.get(at)).copied(), before, piece);
        let alone = |ahead: &[u8]| {
            !hides_context(ahead)
                && (stands_alone(before, behind, *edges) || words() && stands_alone(None, behind, *edges))
        };
        match piece {
            Piece::Open | Piece::Array(_) => return open,
            Piece::Number => {
                let Some(part_of_name) = number_stays(&ahead, behind) else { return open };
                worst = worst.max(if part_of_name { Built::Quoted } else { Built::Constant });
                ahead.push(b'0');
            }
            Piece::Text(text) => ahead.extend_from_slice(text),
            Piece::Quoted(inner) => {
                if !stays_quoted(&ahead, behind) || unknown && *inner == Built::Open {
                    return open;
                }
                worst = worst.max(if unknown { Built::Given } else { Built::Quoted });
                ahead.extend_from_slice(b" x ");
            }
            Piece::Given | Piece::Variable(..) if !alone(&ahead) => return open,
            Piece::Variable(..) if edges.name && !stays_quoted(&ahead, None) => return open,
            Piece::Given => {
                (worst, unknown) = (Built::Given, true);
                ahead.extend_from_slice(b" x ");
            }
            Piece::Variable(built, balanced, _) => {
                (worst, unknown) = (worst.max(*built), unknown || !balanced);
                ahead.extend_from_slice(b" x ");
            }
        }
    }
    (worst, !unknown && is_balanced(&ahead))
}

fn is_balanced(text: &[u8]) -> bool {
    let even = |quote: u8| memchr::memchr_iter(quote, text).count().is_multiple_of(2);
    even(b'\'') && even(b'"') && !hides_context(text)
}

pub(super) fn of_one(pieces: &Option<Vec<Piece>>) -> Built {
    pieces.as_ref().map_or(Built::Open, |pieces| built(pieces))
}

pub(super) fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

/// Whether a quoted name or value behind that text stays a name or a value, and calls nothing.
fn stays_quoted(ahead: &[u8], behind: Option<&Piece>) -> bool {
    let called = matches!(behind, Some(Piece::Text(text)) if begins_call(text))
        || matches!(behind, Some(Piece::Given | Piece::Variable(..)));
    let word = ahead.iter().rposition(|byte| !is_letter(*byte)).map_or(0, |at| at + 1);
    // Where a statement begins a name would say which.
    let begun = ahead.get(..word).unwrap_or_default().trim_ascii_end();
    let runs = memchr::memmem::find(&ahead.to_ascii_lowercase(), b"execute").is_some();
    is_balanced(ahead) && !called && !runs && !begun.is_empty() && !begun.ends_with(b";")
}

/// Whether digits behind that text are a part of a name; None: they may be a part of what is called, or of something else.
fn number_stays(ahead: &[u8], behind: Option<&Piece>) -> Option<bool> {
    let in_constant =
        !is_balanced(ahead) && !hides_context(ahead) && memchr::memchr_iter(b'"', ahead).count().is_multiple_of(2);
    if in_constant {
        return Some(false);
    }
    // A sign would make a comment of it.
    if ahead.ends_with(b"-") || !is_balanced(ahead) {
        return None;
    }
    if !ahead.last().copied().is_some_and(is_letter) {
        return Some(false);
    }
    stays_quoted(ahead, behind).then_some(true)
}

/// Whether a name in front of that text is called, with the letters that it begins with or without them.
fn begins_call(text: &[u8]) -> bool {
    let letters = text.iter().position(|byte| !is_letter(*byte)).unwrap_or(text.len());
    text.get(letters..).unwrap_or_default().trim_ascii_start().starts_with(b"(")
}

/// Whether what follows that text may be read otherwise than by itself: in a comment, a dollar-quoted constant, behind a backslash.
fn hides_context(ahead: &[u8]) -> bool {
    let dollar = ahead
        .windows(2)
        .any(|two| matches!(two, [b'$', next] if *next == b'$' || next.is_ascii_alphabetic() || *next == b'_'));
    let find = |what: &[u8]| memchr::memmem::find(ahead, what).is_some();
    dollar || find(b"\\") || find(b"--") || find(b"/*")
}

/// Whether it is one of several constants, a blank behind a quoted name: `"id" DESC`.
fn is_behind_name(name: Option<&Piece>, blank: Option<&Piece>, piece: &Piece) -> bool {
    let constant = matches!(piece, Piece::Variable(Built::Constant, true, edges) if !edges.call && !edges.name);
    let apart = matches!(blank, Some(Piece::Text(text)) if !text.is_empty() && text.trim_ascii().is_empty());
    constant && apart && matches!(name, Some(Piece::Quoted(_)))
}

/// Whether what begins and ends so stands between constants so that no word reaches beyond it.
fn stands_alone(before: Option<&Piece>, behind: Option<&Piece>, edges: Edges) -> bool {
    let letter_ahead = matches!(before, Some(Piece::Text(text)) if text.last().copied().is_some_and(is_letter));
    let letter_behind = matches!(behind, Some(Piece::Text(text)) if text.first().copied().is_some_and(is_letter));
    let ahead = match before {
        None => true,
        Some(Piece::Text(text)) => !(text.trim_ascii().is_empty() || edges.first && letter_ahead),
        Some(_) => false,
    };
    let called =
        matches!(before, Some(Piece::Text(text)) if text.trim_ascii_end().last().copied().is_some_and(is_letter));
    ahead
        && !(edges.call && called)
        && !(edges.empty && letter_ahead && letter_behind)
        && match behind {
            None => true,
            Some(Piece::Text(text)) => {
                let rest = text.trim_ascii_start();
                rest.is_empty() || !(rest.starts_with(b"(") || edges.last && letter_behind)
            }
            Some(_) => false,
        }
}
