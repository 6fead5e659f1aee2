//! Live screens: `pgsluice maintenance watch` and `pgsluice top`. They read the console by SQL, twice a second, and fit into 80
//! columns.
//!
//! [`data`] is what was read, [`mod@watch`] and [`mod@top`] make lines of it. Where nobody sees a screen, one picture is printed.

mod data;
pub(in crate::cli) mod output;
pub(in crate::cli) mod progress;
mod top;
mod watch;

use std::io::{IsTerminal as _, stdout};
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::exit::{Failure, print};
use super::remote::{Link, with_console};
use super::{ConsoleArgs, Output};
use crate::cli::screen::data::Data;

/// How often the console is asked.
const LOOK: Duration = Duration::from_millis(500);
/// How often a key is looked for.
const KEYS: Duration = Duration::from_millis(50);
/// The size of a picture that is printed.
const PICTURE: (u16, u16) = (80, 40);

/// What fills the screen.
type Draw = fn(&Data) -> Vec<Line<'static>>;

/// `pgsluice maintenance watch`
pub(super) fn watch(console: &ConsoleArgs, database: Option<&str>) -> Result<(), Failure> {
    show(console, database, watch::lines)
}

/// `pgsluice top`
pub(super) fn top(console: &ConsoleArgs) -> Result<(), Failure> {
    show(console, None, top::lines)
}

fn show(console: &ConsoleArgs, database: Option<&str>, draw: Draw) -> Result<(), Failure> {
    let lives = stdout().is_terminal() && console.output == Output::Text;
    with_console(console, async |link| {
        let mut data = Data::read(link, database, None).await?;
        if !lives {
            // Rates need two looks.
            tokio::time::sleep(LOOK).await;
            data = Data::read(link, database, Some(&data)).await?;
            return match console.output {
                Output::Json => print(&format!("{}\n", data.json())),
                Output::Text => print(&picture(draw(&data))),
            };
        }
        let mut terminal = ratatui::try_init().map_err(|error| Failure::Other(format!("no screen: {error}")))?;
        let done = follow(link, database, data, draw, &mut terminal).await;
        ratatui::restore();
        done
    })
}

async fn follow(
    link: &mut Link,
    database: Option<&str>,
    mut data: Data,
    draw: Draw,
    terminal: &mut ratatui::DefaultTerminal,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::Other(format!("the screen cannot be written: {error}"));
    loop {
        terminal.draw(|frame| frame.render_widget(Paragraph::new(draw(&data)), frame.area())).map_err(failed)?;
        let until = Instant::now() + LOOK;
        while Instant::now() < until {
            tokio::time::sleep(KEYS).await;
            while event::poll(Duration::ZERO).map_err(failed)? {
                if let Event::Key(key) = event::read().map_err(failed)?
                    && ends(key)
                {
                    return Ok(());
                }
            }
        }
        data = Data::read(link, database, Some(&data)).await?;
    }
}

fn ends(key: KeyEvent) -> bool {
    matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
        || key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL)
}

/// The same as text.
fn picture(lines: Vec<Line<'static>>) -> String {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(PICTURE.0, PICTURE.1));
    let Ok(_) = terminal.draw(|frame| frame.render_widget(Paragraph::new(lines), frame.area()));
    let buffer = terminal.backend().buffer();
    let row = |y: u16| (0..PICTURE.0).filter_map(|x| Some(buffer.cell((x, y))?.symbol())).collect::<String>();
    let text: Vec<String> = (0..PICTURE.1).map(|y| row(y).trim_end().to_owned()).collect();
    format!("{}\n", text.join("\n").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::own_query::Answer;

    fn answer(columns: &str, rows: &[&[&str]]) -> Answer {
        let cell = |text: &&str| (!text.is_empty()).then(|| (*text).to_owned());
        Answer {
            columns: columns.split(' ').map(str::to_owned).collect(),
            rows: rows.iter().map(|row| row.iter().map(cell).collect()).collect(),
            ..Answer::default()
        }
    }

    fn data(mode: &str, progress: &str) -> Data {
        let maintenance = answer(
            "database mode since who message until expire_at drain_timeout progress in_flight quiesced_at quiesced_lsn held",
            &[
                &[
                    "app",
                    mode,
                    "2026-12-01 12:00:00+00",
                    "dba",
                    "moving house",
                    "2026-12-01 14:00:00+00",
                    "",
                    "30s",
                    progress,
                    "2",
                    "",
                    "",
                    "3",
                ],
                &["shop", "read_write", "", "", "", "", "", "", "", "0", "", "", "0"],
            ],
        );
        let totals = |queries: &str| {
            let columns = "database query_count xact_count query_time refused_count replica_xact_count";
            answer(columns, &[&["app", queries, "50", "1000000", "4", "0"]])
        };
        let upstreams = answer(
            "upstream role lag_ms error",
            &[&["127.0.0.1:5432", "primary", "0", ""], &["127.0.0.1:5433", "replica", "120", ""]],
        );
        let pools = answer(
            "database user cl_active cl_waiting sv_active sv_idle maxwait",
            &[&["app", "app", "7", "2", "5", "1", "4"]],
        );
        let events = answer(
            "at severity event database message",
            &[&["2026-12-01 12:00:00.5+00", "warning", "mode", "app", "mode: draining"]],
        );
        let now =
            |queries| Data::of(maintenance.clone(), totals(queries), upstreams.clone(), pools.clone(), events.clone());
        let mut earlier = now("100");
        earlier.read_at -= Duration::from_secs(2);
        now("300").after(&earlier)
    }

    #[test]
    fn a_drain_is_shown_as_a_bar_and_for_whom_it_waits_in_80_columns() {
        let waits = "database \"app\": waiting for 2 open transactions (15 s):\n  user \"app\", client 127.0.0.1:5, open for 20 s, UPDATE t SET a = $1";
        let text = picture(watch::lines(&data("draining", waits)));
        for words in [
            "DRAINING",
            "moving house",
            "by dba",
            "15 s of 30s",
            "open for 20 s",
            "100.0 queries/s",
            "replica",
            "120 ms",
            "mode: draining",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(text.contains(&"#".repeat(20)) && text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(!text.contains("15 s of 30s") || text.contains("shop"), "{text}");
        let closed = picture(watch::lines(&data("read_only", "")));
        assert!(closed.contains("READ_ONLY") && !closed.contains("15 s of"), "{closed}");
    }

    #[test]
    fn top_shows_rates_pools_and_servers() {
        let text = picture(top::lines(&data("read_write", "")));
        for words in ["100.0", "app", "waiting", "127.0.0.1:5433"] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}
