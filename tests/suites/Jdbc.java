import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.sql.*;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.util.*;
import java.util.concurrent.Executors;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.PGStatement;
import org.postgresql.copy.CopyManager;
import org.postgresql.jdbc.PreferQueryMode;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;
import org.postgresql.util.PGobject;
import org.postgresql.util.PSQLException;
import org.postgresql.xa.PGXADataSource;

/** What programs do with pgjdbc. Prints each check with what became of it. */
public class Jdbc {
    interface Check {
        void run() throws Exception;
    }

    static String port;
    static String database;
    static String user;
    static int failed = 0;
    static int total = 0;

    static Connection open(String... pairs) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", user);
        properties.setProperty("sslmode", "disable");
        for (int i = 0; i < pairs.length; i += 2) {
            properties.setProperty(pairs[i], pairs[i + 1]);
        }
        return DriverManager.getConnection("jdbc:postgresql://127.0.0.1:" + port + "/" + database, properties);
    }

    static void check(String name, Check check) {
        total++;
        try {
            check.run();
            System.out.println("ok " + name);
        } catch (Throwable error) {
            failed++;
            System.out.println("FAILED " + name + " - " + error.toString().replace('\n', ' '));
        }
    }

    static void same(Object found, Object expected) {
        if (!Objects.equals(found, expected)) {
            throw new AssertionError(found + ", not " + expected);
        }
    }

    static Object one(Connection c, String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = c.prepareStatement(sql)) {
            for (int i = 0; i < values.length; i++) {
                statement.setObject(i + 1, values[i]);
            }
            try (ResultSet rows = statement.executeQuery()) {
                return rows.next() ? rows.getObject(1) : null;
            }
        }
    }

    static int run(Connection c, String sql) throws SQLException {
        try (Statement statement = c.createStatement()) {
            return statement.executeUpdate(sql);
        }
    }

    static String fails(Check check) throws Exception {
        try {
            check.run();
        } catch (SQLException error) {
            return error.getSQLState();
        }
        throw new AssertionError("it has not failed");
    }

    /** A check with a connection of its own in each way of sending queries. */
    interface Use {
        void with(Connection c) throws Exception;
    }

    static void inEachMode(String name, Use use) {
        for (String mode : new String[] {"simple", "extended", "extendedForPrepared", "extendedCacheEverything"}) {
            check(name + " (" + mode + ")", () -> {
                try (Connection c = open("preferQueryMode", mode, "prepareThreshold", "2")) {
                    use.with(c);
                }
            });
        }
    }

    static void with(String name, Use use, String... pairs) {
        check(name, () -> {
            try (Connection c = open(pairs)) {
                use.with(c);
            }
        });
    }

    static void statements() {
        inEachMode("values", c -> {
            for (int i = 0; i < 7; i++) {
                same(one(c, "SELECT ?::int + 1", i), i + 1);
                same(one(c, "SELECT ?::text || 'ä€'", "x" + i), "x" + i + "ä€");
            }
        });
        inEachMode("batches", c -> {
            run(c, "CREATE TABLE IF NOT EXISTS j_batch (id int, v text)");
            run(c, "TRUNCATE j_batch");
            try (PreparedStatement insert = c.prepareStatement("INSERT INTO j_batch VALUES (?, ?)")) {
                for (int round = 0; round < 3; round++) {
                    for (int i = 0; i < 100; i++) {
                        insert.setInt(1, i);
                        insert.setString(2, "row " + i);
                        insert.addBatch();
                    }
                    same(insert.executeBatch().length, 100);
                }
            }
            same(one(c, "SELECT count(*) FROM j_batch"), 300L);
        });
        inEachMode("transactions and savepoints", c -> {
            run(c, "CREATE TABLE IF NOT EXISTS j_save (id int)");
            run(c, "TRUNCATE j_save");
            c.setAutoCommit(false);
            run(c, "INSERT INTO j_save VALUES (1)");
            Savepoint point = c.setSavepoint("point");
            run(c, "INSERT INTO j_save VALUES (2)");
            same(fails(() -> run(c, "INSERT INTO nowhere VALUES (1)")), "42P01");
            same(fails(() -> one(c, "SELECT 1")), "25P02");
            c.rollback(point);
            run(c, "INSERT INTO j_save VALUES (3)");
            c.commit();
            same(one(c, "SELECT sum(id) FROM j_save"), 4L);
            c.rollback();
        });
        inEachMode("several statements and results", c -> {
            try (Statement statement = c.createStatement()) {
                same(statement.execute("SELECT 1; CREATE TEMP TABLE j_more (a int); INSERT INTO j_more VALUES (1), (2); SELECT a FROM j_more"), true);
                same(statement.getMoreResults(), false);
                same(statement.getMoreResults(), false);
                same(statement.getUpdateCount(), 2);
                same(statement.getMoreResults(), true);
                run(c, "DROP TABLE j_more");
            }
        });
        inEachMode("types", c -> {
            same(one(c, "SELECT ?::numeric", new BigDecimal("12345.678")), new BigDecimal("12345.678"));
            UUID uuid = UUID.fromString("01234567-89ab-cdef-0123-456789abcdef");
            same(one(c, "SELECT ?::uuid", uuid), uuid);
            same(Arrays.toString((byte[]) one(c, "SELECT ?::bytea", new byte[] {0, 1, -1})), "[0, 1, -1]");
            same(one(c, "SELECT ?::date", LocalDate.of(2020, 2, 29)), java.sql.Date.valueOf("2020-02-29"));
            try (PreparedStatement statement = c.prepareStatement("SELECT ?::timestamptz, ?::int[], ?::json, ?::float8")) {
                OffsetDateTime time = OffsetDateTime.parse("2021-03-04T05:06:07.123456Z");
                statement.setObject(1, time);
                statement.setArray(2, c.createArrayOf("int4", new Object[] {1, null, 3}));
                PGobject json = new PGobject();
                json.setType("json");
                json.setValue("{\"a\": 1}");
                statement.setObject(3, json);
                statement.setDouble(4, -1.5e300);
                for (int i = 0; i < 7; i++) {
                    ResultSet rows = statement.executeQuery();
                    same(rows.next(), true);
                    same(rows.getObject(1, OffsetDateTime.class).toInstant(), time.toInstant());
                    same(Arrays.toString((Object[]) rows.getArray(2).getArray()), "[1, null, 3]");
                    same(rows.getString(3), "{\"a\": 1}");
                    same(rows.getDouble(4), -1.5e300);
                }
            }
        });
    }

    static void prepared() {
        with("a statement that the server has is the same behind DDL of others", c -> {
            run(c, "CREATE TABLE j_ddl (id int)");
            try (Connection other = open()) {
                PreparedStatement insert = c.prepareStatement("INSERT INTO j_ddl VALUES (?)");
                for (int i = 0; i < 7; i++) {
                    insert.setInt(1, i);
                    insert.executeUpdate();
                }
                run(other, "ALTER TABLE j_ddl ALTER id TYPE bigint");
                insert.setLong(1, 3000000000L);
                same(insert.executeUpdate(), 1);
                PreparedStatement fresh = c.prepareStatement("SELECT max(id) FROM j_ddl WHERE id > ?");
                fresh.setLong(1, 1L);
                ResultSet rows = fresh.executeQuery();
                same(rows.next() ? rows.getLong(1) : 0, 3000000000L);
            } finally {
                run(c, "DROP TABLE j_ddl");
            }
        }, "prepareThreshold", "1");
        with("rows that have become others are prepared anew", c -> {
            run(c, "CREATE TABLE j_rows (id int); INSERT INTO j_rows VALUES (1)");
            try (Connection other = open()) {
                PreparedStatement select = c.prepareStatement("SELECT * FROM j_rows");
                for (int i = 0; i < 7; i++) {
                    select.executeQuery();
                }
                run(other, "ALTER TABLE j_rows ADD v text DEFAULT 'new'");
                ResultSet rows = select.executeQuery();
                same(rows.next() ? rows.getString(2) : null, "new");
            } finally {
                run(c, "DROP TABLE j_rows");
            }
        }, "prepareThreshold", "1");
        with("in a transaction autosave saves it", c -> {
            run(c, "CREATE TABLE j_auto (id int); INSERT INTO j_auto VALUES (1)");
            try (Connection other = open()) {
                c.setAutoCommit(false);
                PreparedStatement select = c.prepareStatement("SELECT * FROM j_auto");
                for (int i = 0; i < 7; i++) {
                    select.executeQuery();
                    c.commit();
                }
                run(other, "ALTER TABLE j_auto ADD v text DEFAULT 'new'");
                one(c, "SELECT 1");
                ResultSet rows = select.executeQuery();
                same(rows.next() ? rows.getString(2) : null, "new");
                same(fails(() -> run(c, "SELECT * FROM nowhere")), "42P01");
                same(one(c, "SELECT 2"), 2);
                c.commit();
            } finally {
                c.rollback();
                c.setAutoCommit(true);
                run(c, "DROP TABLE j_auto");
            }
        }, "prepareThreshold", "1", "autosave", "always");
        with("more statements than are cached", c -> {
            for (int round = 0; round < 2; round++) {
                for (int i = 0; i < 300; i++) {
                    same(one(c, "SELECT ?::int + " + i, 1), i + 1);
                }
            }
        }, "prepareThreshold", "1", "preparedStatementCacheQueries", "50");
        with("DEALLOCATE ALL and DISCARD ALL", c -> {
            PreparedStatement select = c.prepareStatement("SELECT ?::int");
            for (int i = 0; i < 7; i++) {
                select.setInt(1, i);
                select.executeQuery();
            }
            run(c, "DEALLOCATE ALL");
            select.setInt(1, 5);
            same(select.executeQuery().next(), true);
            run(c, "DISCARD ALL");
            select.setInt(1, 6);
            same(select.executeQuery().next(), true);
        }, "prepareThreshold", "1");
        with("SET search_path", c -> {
            run(c, "CREATE SCHEMA IF NOT EXISTS j_a; CREATE SCHEMA IF NOT EXISTS j_b; CREATE TABLE IF NOT EXISTS j_a.t AS SELECT 'a' AS v; CREATE TABLE IF NOT EXISTS j_b.t AS SELECT 'b' AS v");
            PreparedStatement select = c.prepareStatement("SELECT v FROM t");
            for (String schema : new String[] {"j_a", "j_b", "j_a"}) {
                c.setSchema(schema);
                same(c.getSchema(), schema);
                for (int i = 0; i < 4; i++) {
                    ResultSet rows = select.executeQuery();
                    same(rows.next() ? rows.getString(1) : null, schema.substring(2));
                }
            }
        }, "prepareThreshold", "1");
        with("rewritten batches with keys", c -> {
            run(c, "CREATE TABLE IF NOT EXISTS j_keys (id serial, v text)");
            PreparedStatement insert = c.prepareStatement("INSERT INTO j_keys (v) VALUES (?)", Statement.RETURN_GENERATED_KEYS);
            for (int i = 0; i < 50; i++) {
                insert.setString(1, "v" + i);
                insert.addBatch();
            }
            same(insert.executeBatch().length, 50);
            int keys = 0;
            for (ResultSet rows = insert.getGeneratedKeys(); rows.next(); keys++) {
                same(rows.getInt(1) > 0, true);
            }
            same(keys, 50);
        }, "reWriteBatchedInserts", "true");
        with("a batch that fails tells where", c -> {
            run(c, "CREATE TABLE IF NOT EXISTS j_bad (id int PRIMARY KEY); TRUNCATE j_bad");
            PreparedStatement insert = c.prepareStatement("INSERT INTO j_bad VALUES (?)");
            for (int id : new int[] {1, 2, 2, 3}) {
                insert.setInt(1, id);
                insert.addBatch();
            }
            try {
                insert.executeBatch();
                throw new AssertionError("inserted");
            } catch (BatchUpdateException error) {
                same(error.getSQLState(), "23505");
            }
            same(one(c, "SELECT count(*) FROM j_bad"), 0L);
        });
    }

    static void cursors() {
        with("fetch size in a transaction", c -> {
            c.setAutoCommit(false);
            Statement statement = c.createStatement();
            statement.setFetchSize(7);
            ResultSet rows = statement.executeQuery("SELECT generate_series(1, 1000)");
            long sum = 0;
            int count = 0;
            while (rows.next()) {
                sum += rows.getInt(1);
                if (++count % 300 == 0) {
                    one(c, "SELECT 1");
                }
            }
            same(sum, 500500L);
            c.commit();
        });
        with("a cursor that outlives its transaction", c -> {
            c.setAutoCommit(false);
            Statement statement =
                c.createStatement(ResultSet.TYPE_FORWARD_ONLY, ResultSet.CONCUR_READ_ONLY, ResultSet.HOLD_CURSORS_OVER_COMMIT);
            statement.setFetchSize(10);
            ResultSet rows = statement.executeQuery("SELECT generate_series(1, 100)");
            rows.next();
            c.commit();
            int count = 1;
            while (rows.next()) {
                count++;
            }
            same(count, 100);
        });
        with("refcursor of a function", c -> {
            run(c, "CREATE OR REPLACE FUNCTION j_ref() RETURNS refcursor LANGUAGE plpgsql AS $$ DECLARE r refcursor; BEGIN OPEN r FOR SELECT generate_series(1, 5); RETURN r; END $$");
            c.setAutoCommit(false);
            CallableStatement call = c.prepareCall("{? = call j_ref()}");
            call.registerOutParameter(1, Types.REF_CURSOR);
            call.execute();
            ResultSet rows = (ResultSet) call.getObject(1);
            int count = 0;
            while (rows.next()) {
                count++;
            }
            same(count, 5);
            c.commit();
        });
        with("procedures with INOUT, and with COMMIT", c -> {
            run(c, "CREATE OR REPLACE PROCEDURE j_proc(INOUT a int) LANGUAGE plpgsql AS $$ BEGIN COMMIT; a := a + 1; COMMIT; END $$");
            for (int i = 0; i < 7; i++) {
                CallableStatement call = c.prepareCall("call j_proc(?)");
                call.setInt(1, i);
                call.registerOutParameter(1, Types.INTEGER);
                call.execute();
                same(call.getInt(1), i + 1);
            }
        }, "escapeSyntaxCallMode", "callIfNoReturn");
        with("rows that can be updated", c -> {
            run(c, "CREATE TABLE IF NOT EXISTS j_upd (id int PRIMARY KEY, v text); TRUNCATE j_upd; INSERT INTO j_upd VALUES (1, 'a'), (2, 'b')");
            Statement statement = c.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE);
            ResultSet rows = statement.executeQuery("SELECT id, v FROM j_upd ORDER BY id");
            rows.absolute(2);
            rows.updateString(2, "z");
            rows.updateRow();
            rows.moveToInsertRow();
            rows.updateInt(1, 3);
            rows.updateString(2, "c");
            rows.insertRow();
            same(one(c, "SELECT string_agg(v, '' ORDER BY id) FROM j_upd"), "azc");
        });
        with("maximum of rows", c -> {
            PreparedStatement select = c.prepareStatement("SELECT generate_series(1, ?)");
            select.setMaxRows(5);
            for (int i = 0; i < 7; i++) {
                select.setInt(1, 50);
                int count = 0;
                for (ResultSet rows = select.executeQuery(); rows.next(); count++) {}
                same(count, 5);
            }
        });
    }

    static void session() {
        with("settings of a session", c -> {
            run(c, "SET work_mem = '5MB'");
            run(c, "SET TIME ZONE 'Asia/Tokyo'");
            for (int i = 0; i < 5; i++) {
                same(one(c, "SHOW work_mem"), "5MB");
                same(one(c, "SELECT current_setting('TimeZone')"), "Asia/Tokyo");
            }
            run(c, "RESET work_mem");
            same(one(c, "SELECT setting = reset_val FROM pg_settings WHERE name = 'work_mem'"), true);
        });
        with("options of the URL", c -> same(one(c, "SHOW statement_timeout"), "7s"), "options", "-c statement_timeout=7s");
        with("application_name and client info", c -> {
            same(one(c, "SHOW application_name"), "j_app");
            c.setClientInfo("ApplicationName", "j_other");
            same(one(c, "SHOW application_name"), "j_other");
        }, "ApplicationName", "j_app");
        with("isolation and read-only", c -> {
            c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            same(c.getTransactionIsolation(), Connection.TRANSACTION_SERIALIZABLE);
            c.setReadOnly(true);
            c.setAutoCommit(false);
            same(one(c, "SHOW transaction_isolation"), "serializable");
            same(fails(() -> run(c, "CREATE TABLE j_ro (a int)")), "25006");
            c.rollback();
            c.setReadOnly(false);
            same(one(c, "SHOW transaction_read_only"), "off");
            c.commit();
        });
        with("temporary tables", c -> {
            run(c, "CREATE TEMP TABLE j_temp (a int)");
            run(c, "INSERT INTO j_temp VALUES (1)");
            try (Connection other = open()) {
                same(fails(() -> one(other, "SELECT * FROM j_temp")), "42P01");
            }
            same(one(c, "SELECT a FROM j_temp"), 1);
        });
        with("roles", c -> {
            run(c, "SET ROLE pg_read_all_data");
            try (Connection other = open()) {
                same(one(other, "SELECT current_user::text"), user);
            }
            same(one(c, "SELECT current_user::text"), "pg_read_all_data");
            run(c, "RESET ROLE");
            same(one(c, "SELECT current_user::text"), user);
        });
        with("a setting of the application's own", c -> {
            one(c, "SELECT set_config('app.user', ?, false)", "42");
            try (Connection other = open()) {
                same(one(other, "SELECT nullif(current_setting('app.user', true), '')"), null);
                one(other, "SELECT set_config('app.current_user', 'x', false)");
            }
            same(one(c, "SELECT current_setting('app.user')"), "42");
        });
        with("advisory locks", c -> {
            one(c, "SELECT pg_advisory_lock(815)");
            try (Connection other = open()) {
                same(one(other, "SELECT pg_try_advisory_lock(815)"), false);
                same(one(c, "SELECT pg_advisory_unlock(815)"), true);
                same(one(other, "SELECT pg_try_advisory_lock(815)"), true);
            }
        });
        with("warnings", c -> {
            Statement statement = c.createStatement();
            statement.execute("DO $$ BEGIN RAISE WARNING 'mine'; END $$");
            same(statement.getWarnings().getMessage(), "mine");
        });
        with("listen and notify", c -> {
            run(c, "LISTEN j_news");
            try (Connection other = open()) {
                run(other, "NOTIFY j_news, 'hello'");
                PGNotification[] news = c.unwrap(PGConnection.class).getNotifications(5000);
                same(news.length, 1);
                same(news[0].getParameter(), "hello");
                same(news[0].getPID(), other.unwrap(PGConnection.class).getBackendPID());
                run(c, "NOTIFY j_news, 'mine'");
                news = c.unwrap(PGConnection.class).getNotifications(5000);
                same(news[0].getPID(), c.unwrap(PGConnection.class).getBackendPID());
            }
        });
        with("the process id", c -> {
            for (int i = 0; i < 5; i++) {
                same(one(c, "SELECT pg_backend_pid()"), c.unwrap(PGConnection.class).getBackendPID());
            }
        });
    }

    static void ends() {
        with("cancel", c -> {
            Statement statement = c.createStatement();
            Timer timer = new Timer(true);
            timer.schedule(new TimerTask() {
                public void run() {
                    try {
                        statement.cancel();
                    } catch (SQLException error) {
                        throw new AssertionError(error);
                    }
                }
            }, 300);
            same(fails(() -> statement.execute("SELECT pg_sleep(20)")), "57014");
            same(one(c, "SELECT 1"), 1);
        });
        with("a time-out of a query", c -> {
            Statement statement = c.createStatement();
            statement.setQueryTimeout(1);
            same(fails(() -> statement.execute("SELECT pg_sleep(20)")), "57014");
            same(one(c, "SELECT 1"), 1);
        });
        with("a time-out of the network", c -> {
            c.setNetworkTimeout(Executors.newSingleThreadExecutor(run -> {
                Thread thread = new Thread(run);
                thread.setDaemon(true);
                return thread;
            }), 500);
            same(fails(() -> one(c, "SELECT pg_sleep(5)")), "08006");
        });
        with("whether it is valid", c -> {
            for (int i = 0; i < 5; i++) {
                same(c.isValid(5), true);
            }
        });
        with("a process that another ends", c -> {
            int pid = c.unwrap(PGConnection.class).getBackendPID();
            same(one(c, "SELECT pg_backend_pid()"), pid);
            try (Connection other = open()) {
                same(one(other, "SELECT pg_terminate_backend(?)", pid), true);
                same(one(other, "SELECT 1"), 1);
            }
        });
        with("two phases", c -> {
            PGXADataSource source = new PGXADataSource();
            source.setUrl("jdbc:postgresql://127.0.0.1:" + port + "/" + database);
            source.setUser(user);
            source.setSslmode("disable");
            run(c, "CREATE TABLE IF NOT EXISTS j_xa (a int); TRUNCATE j_xa");
            javax.sql.XAConnection xa = source.getXAConnection();
            javax.transaction.xa.Xid xid = new javax.transaction.xa.Xid() {
                public int getFormatId() {
                    return 1;
                }

                public byte[] getGlobalTransactionId() {
                    return new byte[] {1, 2, 3};
                }

                public byte[] getBranchQualifier() {
                    return new byte[] {4};
                }
            };
            xa.getXAResource().start(xid, javax.transaction.xa.XAResource.TMNOFLAGS);
            run(xa.getConnection(), "INSERT INTO j_xa VALUES (1)");
            xa.getXAResource().end(xid, javax.transaction.xa.XAResource.TMSUCCESS);
            xa.getXAResource().prepare(xid);
            same(one(c, "SELECT count(*) FROM j_xa"), 0L);
            xa.getXAResource().commit(xid, false);
            same(one(c, "SELECT count(*) FROM j_xa"), 1L);
            xa.close();
        });
    }

    static void copies() {
        with("copy in and out", c -> {
            run(c, "CREATE TABLE IF NOT EXISTS j_copy (id int, v text); TRUNCATE j_copy");
            CopyManager copies = c.unwrap(PGConnection.class).getCopyAPI();
            StringBuilder text = new StringBuilder();
            for (int i = 0; i < 5000; i++) {
                text.append(i).append("\trow ").append(i).append('\n');
            }
            same(copies.copyIn("COPY j_copy FROM STDIN", new StringReader(text.toString())), 5000L);
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            same(copies.copyOut("COPY (SELECT * FROM j_copy ORDER BY id) TO STDOUT", out), 5000L);
            same(out.toString(StandardCharsets.UTF_8), text.toString());
            same(fails(() -> copies.copyIn("COPY j_copy FROM STDIN", new StringReader("x\ty\n"))), "22P02");
            same(one(c, "SELECT count(*) FROM j_copy"), 5000L);
        });
        with("large objects", c -> {
            c.setAutoCommit(false);
            LargeObjectManager manager = c.unwrap(PGConnection.class).getLargeObjectAPI();
            long oid = manager.createLO(LargeObjectManager.READWRITE);
            LargeObject object = manager.open(oid, LargeObjectManager.READWRITE);
            object.write("something".getBytes(StandardCharsets.US_ASCII));
            object.seek(4);
            same(new String(object.read(5), StandardCharsets.US_ASCII), "thing");
            object.close();
            c.commit();
            manager.delete(oid);
            c.commit();
        });
        with("streams and large values", c -> {
            run(c, "CREATE TABLE IF NOT EXISTS j_stream (b bytea, t text); TRUNCATE j_stream");
            byte[] bytes = new byte[3_000_000];
            new Random(1).nextBytes(bytes);
            PreparedStatement insert = c.prepareStatement("INSERT INTO j_stream VALUES (?, ?)");
            insert.setBinaryStream(1, new ByteArrayInputStream(bytes), bytes.length);
            insert.setCharacterStream(2, new StringReader("ä".repeat(500_000)));
            same(insert.executeUpdate(), 1);
            try (ResultSet rows = c.createStatement().executeQuery("SELECT b, length(t) FROM j_stream")) {
                same(rows.next(), true);
                same(Arrays.equals(rows.getBytes(1), bytes), true);
                same(rows.getInt(2), 500_000);
            }
        });
        with("what the catalog says", c -> {
            DatabaseMetaData meta = c.getMetaData();
            same(meta.getTables(null, "public", "j_copy", null).next(), true);
            int columns = 0;
            for (ResultSet rows = meta.getColumns(null, "public", "j_copy", null); rows.next(); columns++) {}
            same(columns, 2);
            same(meta.getPrimaryKeys(null, "public", "j_bad").next(), true);
            same(meta.getURL().contains(port), true);
            same(c.prepareStatement("SELECT id, v FROM j_copy").getMetaData().getColumnCount(), 2);
            same(c.prepareStatement("SELECT ?::int").getParameterMetaData().getParameterType(1), Types.INTEGER);
        });
    }

    public static void main(String[] arguments) {
        port = arguments[0];
        database = arguments[1];
        user = arguments[2];
        statements();
        prepared();
        cursors();
        session();
        ends();
        copies();
        System.out.println("Ran " + total + " checks, " + failed + " failed");
    }
}
