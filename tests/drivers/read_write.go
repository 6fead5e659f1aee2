// lib/pq, which sends BEGIN READ WRITE for each transaction, and pgx through a closed gate.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
	"github.com/lib/pq"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func maintenance(command string) {
	psql := exec.Command(os.Getenv("PSQL"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", command)
	psql.Env = append(os.Environ(), "PGDATABASE=pgsluice", "PGUSER="+os.Getenv("ADMIN"), "PGPASSWORD="+os.Getenv("ADMIN_PASSWORD"))
	out, err := psql.CombinedOutput()
	if err != nil {
		panic(fmt.Sprint(err, string(out)))
	}
}

const message = "cannot execute INSERT in a read-only transaction"

func libPq(db *sql.DB, closed bool) {
	for _, options := range []*sql.TxOptions{nil, {Isolation: sql.LevelSerializable}, {Isolation: sql.LevelRepeatableRead}} {
		tx, err := db.BeginTx(context.Background(), options)
		must(err)
		var n int
		must(tx.QueryRow("select count(*) from rw_go where who = $1", "x").Scan(&n))
		_, err = tx.Exec("insert into rw_go values ($1)", "pq")
		if closed {
			said, ok := err.(*pq.Error)
			if !ok || said.Code != "25006" || said.Message != message || said.Detail == "" {
				panic(fmt.Sprint("lib/pq: ", err))
			}
			must(tx.Rollback())
		} else {
			must(err)
			must(tx.Commit())
		}
	}
}

func pgx4(conn *pgx.Conn, closed bool) {
	ctx := context.Background()
	for _, level := range []pgx.TxIsoLevel{"", pgx.RepeatableRead} {
		tx, err := conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadWrite, IsoLevel: level})
		must(err)
		var n int
		must(tx.QueryRow(ctx, "select count(*) from rw_go where who = $1", "x").Scan(&n))
		_, err = tx.Exec(ctx, "insert into rw_go values ($1)", "pgx")
		if closed {
			said, ok := err.(*pgconn.PgError)
			if !ok || said.Code != "25006" || said.Message != message || said.Detail == "" {
				panic(fmt.Sprint("pgx: ", err))
			}
			must(tx.Rollback(ctx))
		} else {
			must(err)
			must(tx.Commit(ctx))
		}
	}
}

func main() {
	db, err := sql.Open("postgres", "")
	must(err)
	_, err = db.Exec("create table if not exists rw_go (who text)")
	must(err)
	conn, err := pgx.Connect(context.Background(), "")
	must(err)
	libPq(db, false)
	pgx4(conn, false)
	maintenance("MAINTENANCE ON " + os.Getenv("PGDATABASE") + " WITH (message 'moving house')")
	libPq(db, true)
	pgx4(conn, true)
	maintenance("MAINTENANCE OFF " + os.Getenv("PGDATABASE"))
	libPq(db, false)
	pgx4(conn, false)
	fmt.Println("done")
}
