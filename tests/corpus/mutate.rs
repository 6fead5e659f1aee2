//! Statements made from other statements: words are taken out, doubled, swapped, put into capitals or comments, moved
//! from one statement into another, and wrapped in what can stand around a statement. Deterministic, from a seed.

/// xorshift64*: enough to pick words with.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn of<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        &things[self.below(things.len())]
    }
}

/// Words that decide something, and what makes lexers stumble.
const SPICE: &[&str] = &[
    "select",
    "insert into t values (1)",
    "update t set a = 1",
    "delete from t",
    "with x as (",
    ")",
    "(",
    ";",
    ",",
    "into n",
    "for update",
    "for share of t",
    "returning *",
    "as",
    "from",
    "explain",
    "explain analyze",
    "analyze",
    "prepare p as",
    "execute p",
    "declare c cursor for",
    "copy (",
    ") to stdout",
    "to stdout",
    "from stdin",
    "create table n as",
    "create",
    "temp",
    "begin",
    "begin atomic",
    "end",
    "set",
    "local",
    "default_transaction_read_only",
    "= off",
    "to on",
    "transaction",
    "read write",
    "merge into t using u on true when matched then delete",
    "union all",
    "values (1)",
    "table t",
    "recursive",
    "materialized",
    "lo_create(0)",
    "nextval('s')",
    "set_config('transaction_read_only', 'off', false)",
    "'",
    "''",
    "\"",
    "$$",
    "$a$",
    "/*",
    "*/",
    "--",
    "\n",
    "\\",
    "E'\\''",
    "U&'\\0061'",
    "::text",
    "[1]",
    ".",
    "*",
    "1",
    "null",
    "case when true then",
    "do $$ begin null; end $$",
    "call p()",
    "vacuum",
    "truncate t",
    "lock table t",
    "notify a",
];

/// What stands around a statement: before and behind it.
const WRAPS: &[(&str, &str)] = &[
    ("explain ", ""),
    ("explain analyze ", ""),
    ("explain (analyze off, costs) ", ""),
    ("prepare p as ", ""),
    ("with x as (", ") select * from x"),
    ("with x as materialized (", ") table x"),
    ("(", ")"),
    ("((", "))"),
    ("declare c cursor for ", ""),
    ("declare c cursor with hold for ", ""),
    ("copy (", ") to stdout"),
    ("create table n as ", ""),
    ("create view n as ", ""),
    ("insert into t ", ""),
    ("select * from (", ") x"),
    ("select exists (", ")"),
    ("/* ", " */ select 1"),
    ("begin; ", "; commit"),
    ("select 1; ", ""),
    ("do $x$ begin ", "; end $x$"),
    ("select $y$", "$y$"),
    ("-- x\n", " -- y"),
    ("select 1 union all ", ""),
    ("create function f() returns int begin atomic ", "; end"),
    ("", ";;"),
    ("values ((", "))"),
    ("select * into n from (", ") x"),
    ("with x as (select 1) ", ""),
    ("with recursive x as (", ") select 1 for update"),
];

/// Cuts a text into words, constants and single characters.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let end = if word(first) {
            rest.find(|c| !word(c))
        } else if first == '\'' {
            rest[1..].find('\'').map(|end| end + 2)
        } else if first.is_whitespace() {
            rest.find(|c: char| !c.is_whitespace())
        } else {
            Some(first.len_utf8())
        };
        let (taken, left) = rest.split_at(end.unwrap_or(rest.len()));
        words.push(taken);
        rest = left;
    }
    words
}

/// One more statement, from a few of these.
pub fn mutant<S: AsRef<str>>(seeds: &[S], dice: &mut Dice) -> String {
    let mut text = dice.of(seeds).as_ref().to_owned();
    for _ in 0..=dice.below(4) {
        text = change(&text, seeds, dice);
    }
    text
}

fn change<S: AsRef<str>>(text: &str, seeds: &[S], dice: &mut Dice) -> String {
    let mut words = words(text);
    if words.is_empty() {
        return (*dice.of::<&str>(SPICE)).to_owned();
    }
    let at = dice.below(words.len());
    match dice.below(12) {
        0 => drop(words.remove(at)),
        1 => words.insert(at, words[at]),
        2 => {
            let other = dice.below(words.len());
            words.swap(at, other);
        }
        3 | 4 => words.splice(at..at, [" ", *dice.of::<&str>(SPICE), " "]).for_each(drop),
        5 => words[at] = *dice.of::<&str>(SPICE),
        6 => words.truncate(at),
        7 => drop(words.drain(..at)),
        8 => {
            return words
                .iter()
                .map(|word| if dice.below(3) == 0 { word.to_uppercase() } else { (*word).to_owned() })
                .collect();
        }
        9 => return words.join(if dice.below(2) == 0 { "/**/" } else { "\n" }),
        10 => {
            let (before, behind) = dice.of(WRAPS);
            return format!("{before}{text}{behind}");
        }
        _ => {
            let other = self::words(dice.of(seeds).as_ref());
            let from = dice.below(other.len().max(1)).min(other.len());
            let until = (from + dice.below(8)).min(other.len());
            words.splice(at..at, other[from..until].iter().copied()).for_each(drop);
        }
    }
    words.concat()
}
