//! Statements that pgsluice runs for itself, over the simple protocol.

use super::login::{Fresh, LONGEST, LoginError, next_frame_within};
use crate::protocol::frame::{HEADER, take_str, take_u16, take_u32};
use crate::protocol::{ErrorFields, WireError, frontend};
use crate::sql::own_statements::in_system_path;

/// A row in text form, None for NULL.
pub type Row = Vec<Option<String>>;

/// The last result of a message: the columns' names and the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Names; none if no statement gave rows.
    pub columns: Vec<String>,
    /// OIDs of their types.
    pub types: Vec<u32>,
    /// Rows of all results.
    pub rows: Vec<Row>,
    /// The last command's tag.
    pub tag: String,
}

/// What a statement gives, with its rows as the server wrote them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawAnswer {
    /// Names of columns and OIDs of their types.
    pub columns: Vec<(String, u32)>,
    /// Bodies of DataRow messages.
    pub rows: Vec<Vec<u8>>,
}

impl Fresh {
    /// Sends these messages, the last of which asks for a ReadyForQuery, and gives what comes, no more than `most` bytes of it.
    ///
    /// # Errors
    /// As [`Self::rows`], or the answer is longer. Then the connection is of no use any more.
    pub async fn raw_answer(&mut self, out: &[u8], most: usize) -> Result<RawAnswer, LoginError> {
        let mut answer = RawAnswer::default();
        let take = |tag, body: &[u8]| {
            match tag {
                b'T' => answer.columns = columns(body)?,
                b'D' => answer.rows.push(body.to_vec()),
                _ => {}
            }
            Ok(())
        };
        self.exchange(out, most, most, take).await?;
        Ok(answer)
    }

    /// Runs a statement of pgsluice's own, under PostgreSQL's own search_path, and gives the rows.
    ///
    /// # Errors
    /// The server refuses it ([`LoginError::Refused`]) or has gone. After a refusal the connection can be used again.
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, LoginError> {
        self.ask(&in_system_path(sql), |_| ()).await.map(|answer| answer.rows)
    }

    /// As [`Self::rows`], with rows as long as they like, but no more than `most` bytes in all.
    ///
    /// # Errors
    /// As [`Self::rows`], or the answer is longer. Then the connection is of no use any more.
    pub async fn rows_within(&mut self, sql: &str, most: usize) -> Result<Vec<Row>, LoginError> {
        self.ask_within(&in_system_path(sql), most, most, |_| ()).await.map(|answer| answer.rows)
    }

    /// Runs `sql` and gives its whole answer; notices are shown to `notice` as they come.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub async fn ask(&mut self, sql: &str, notice: impl FnMut(ErrorFields<'_>)) -> Result<Answer, LoginError> {
        self.ask_within(sql, LONGEST, usize::MAX, notice).await
    }

    /// Runs a statement with `value` as its parameter `$1`, over the extended protocol, so that no value is ever read as
    /// SQL. It finds what the connection's own search_path finds.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub async fn rows_with(&mut self, sql: &str, value: &str) -> Result<Vec<Row>, LoginError> {
        let length = u32::try_from(value.len()).map_err(|_| WireError::Length)?;
        let mut parameters = Vec::with_capacity(value.len() + 10);
        // No format codes: everything is text, both ways.
        parameters.extend_from_slice(&[0, 0, 0, 1]);
        parameters.extend_from_slice(&length.to_be_bytes());
        parameters.extend_from_slice(value.as_bytes());
        parameters.extend_from_slice(&[0, 0]);
        let mut out = Vec::with_capacity(sql.len() + value.len() + 64);
        frontend::write_parse(&mut out, b"", sql.as_bytes(), &[]);
        frontend::write_bind(&mut out, b"", b"", &parameters);
        frontend::write_execute(&mut out, b"");
        frontend::write_sync(&mut out);
        self.send_and_read(&out, LONGEST, usize::MAX, |_| ()).await.map(|answer| answer.rows)
    }

    async fn ask_within(
        &mut self,
        sql: &str,
        longest: usize,
        most: usize,
        notice: impl FnMut(ErrorFields<'_>),
    ) -> Result<Answer, LoginError> {
        let mut out = Vec::with_capacity(sql.len() + HEADER + 1);
        frontend::write_query(&mut out, sql.as_bytes());
        self.send_and_read(&out, longest, most, notice).await
    }

    async fn send_and_read(
        &mut self,
        out: &[u8],
        longest: usize,
        most: usize,
        mut notice: impl FnMut(ErrorFields<'_>),
    ) -> Result<Answer, LoginError> {
        let mut answer = Answer::default();
        let take = |tag, body: &[u8]| {
            match tag {
                b'T' => (answer.columns, answer.types) = columns(body)?.into_iter().unzip(),
                b'D' => answer.rows.push(row(body)?),
                b'C' => answer.tag = String::from_utf8_lossy(take_str(body)?.0).into_owned(),
                b'N' => notice(ErrorFields::new(body)),
                _ => {}
            }
            Ok(())
        };
        self.exchange(out, longest, most, take).await?;
        Ok(answer)
    }

    /// Sends that and gives all that comes to `take`, by its tag and body, up to ReadyForQuery; an error is what is given back then. No
    /// message may be longer than `longest`, nor all together than `most`.
    async fn exchange(
        &mut self,
        out: &[u8],
        longest: usize,
        mut most: usize,
        mut take: impl FnMut(u8, &[u8]) -> Result<(), WireError>,
    ) -> Result<(), LoginError> {
        self.stream.write_all(out).await?;
        let (mut input, mut refusal) = (Vec::with_capacity(1024), None);
        loop {
            let header = next_frame_within(&mut self.stream, &mut input, longest.min(most)).await?;
            most = most.checked_sub(header.total).ok_or(WireError::Length)?;
            let body = input.get(HEADER..header.total).unwrap_or_default();
            match header.tag {
                b'E' => {
                    let fatal = ErrorFields::new(body).is_fatal();
                    refusal = Some(LoginError::Refused(body.to_vec()));
                    if fatal {
                        break;
                    }
                }
                b'Z' => break,
                tag => take(tag, body)?,
            }
            input.drain(..header.total);
        }
        refusal.map_or(Ok(()), Err)
    }
}

fn columns(body: &[u8]) -> Result<Vec<(String, u32)>, WireError> {
    /// What stands behind each name: table, column, type, length, modifier and format.
    const REST: usize = 18;
    /// Where the type is.
    const TYPE: std::ops::Range<usize> = 6..10;
    let (count, mut rest) = take_u16(body)?;
    let mut columns = Vec::with_capacity(usize::from(count).min(64));
    for _ in 0..count {
        let (name, tail) = take_str(rest)?;
        let oid = tail.get(TYPE).and_then(|oid| oid.try_into().ok()).map_or(0, u32::from_be_bytes);
        columns.push((String::from_utf8_lossy(name).into_owned(), oid));
        rest = tail.get(REST..).ok_or(WireError::Format)?;
    }
    Ok(columns)
}

/// The values of a DataRow, in text form.
///
/// # Errors
/// It is not what the protocol says.
pub fn row(body: &[u8]) -> Result<Row, WireError> {
    let (count, mut rest) = take_u16(body)?;
    let mut row = Vec::with_capacity(usize::from(count).min(64));
    for _ in 0..count {
        let (length, tail) = take_u32(rest)?;
        if length == u32::MAX {
            row.push(None);
            rest = tail;
        } else {
            let (value, tail) = tail.split_at_checked(length as usize).ok_or(WireError::Format)?;
            row.push(Some(String::from_utf8_lossy(value).into_owned()));
            rest = tail;
        }
    }
    Ok(row)
}

/// Name and value of a ParameterStatus body.
///
/// # Errors
/// It is not two strings.
pub fn parameter(body: &[u8]) -> Result<(&str, &str), WireError> {
    let (name, rest) = take_str(body)?;
    let (value, _) = take_str(rest)?;
    Ok((
        std::str::from_utf8(name).map_err(|_| WireError::String)?,
        std::str::from_utf8(value).map_err(|_| WireError::String)?,
    ))
}
