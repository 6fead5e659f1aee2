//! More statements than server connections may keep, from more clients than there are server connections.

use futures_util::future::join_all;

use crate::rust::connect;
use crate::stand::Stand;

const CLIENTS: i32 = 8;
const STATEMENTS: i32 = 50;
/// The stand's max_prepared_statements.
const MOST: i64 = 10;

async fn client(stand: &Stand, number: i32) {
    let mut client = connect(stand, "app").await;
    // Half of the texts are every client's, half are its own.
    let own = |of: i32| if of % 2 == 0 { 0 } else { number };
    let texts = (0..STATEMENTS).map(|of| format!("select $1::int * {STATEMENTS} + {of} + 1000 * {}", own(of)));
    let texts: Vec<String> = texts.collect();
    let mut statements = Vec::new();
    for text in &texts {
        statements.push(client.prepare(text).await.unwrap());
    }
    // Each client goes through them in an order of its own, twice.
    for turn in 0..2 * STATEMENTS {
        let of = (turn * 7 + number * 13) % STATEMENTS;
        let right = turn * STATEMENTS + of + 1000 * own(of);
        let statement = &statements[of as usize];
        assert_eq!(client.query_one(statement, &[&turn]).await.unwrap().get::<_, i32>(0), right, "client {number}");
        if turn % 10 == 0 {
            let transaction = client.transaction().await.unwrap();
            for (of, statement) in statements.iter().enumerate().take(15) {
                let of = i32::try_from(of).unwrap();
                let got: i32 = transaction.query_one(statement, &[&0]).await.unwrap().get(0);
                assert_eq!(got, of + 1000 * own(of), "client {number} in a transaction");
            }
            let held = "select count(*) from pg_prepared_statements where name like 'pgsluice\\_%'";
            let held = transaction.simple_query(held).await.unwrap();
            let held = held.iter().find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0)?.parse::<i64>().ok(),
                _ => None,
            });
            assert!(held.is_some_and(|held| (1..=MOST).contains(&held)), "{held:?} on one server connection");
            transaction.commit().await.unwrap();
        }
        if turn % 30 == 29 {
            // Dropped and prepared again: a Close, and a Parse of what stands somewhere already.
            let at = (turn % STATEMENTS) as usize;
            statements[at] = client.prepare(&texts[at]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn eight_clients_fifty_statements_two_connections() {
    let stand = Stand::shared();
    join_all((0..CLIENTS).map(|number| client(&stand, number))).await;
    let connections = stand.server_connections("app");
    assert!((1..=2).contains(&connections), "{connections} server connections");
}
