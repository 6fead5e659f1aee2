import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Properties;
import org.postgresql.util.PSQLException;

/** pgjdbc with readOnlyMode=always, which asks for READ WRITE, through a closed gate. */
public class ReadWrite {
    static String env(String name) {
        return System.getenv(name);
    }

    static void maintenance(String command) throws Exception {
        ProcessBuilder psql = new ProcessBuilder(env("PSQL"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", command);
        psql.environment().put("PGDATABASE", "pgsluice");
        psql.environment().put("PGUSER", env("ADMIN"));
        psql.environment().put("PGPASSWORD", env("ADMIN_PASSWORD"));
        psql.redirectOutput(ProcessBuilder.Redirect.DISCARD).redirectError(ProcessBuilder.Redirect.INHERIT);
        check(psql.start().waitFor() == 0, command);
    }

    static void check(boolean holds, Object what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static Connection connect(String mode) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", env("PGUSER"));
        properties.setProperty("password", env("PGPASSWORD"));
        properties.setProperty("sslmode", "verify-full");
        properties.setProperty("sslrootcert", env("PGSSLROOTCERT"));
        properties.setProperty("readOnlyMode", mode);
        return DriverManager.getConnection(
            "jdbc:postgresql://localhost:" + env("PGPORT") + "/" + env("PGDATABASE"), properties);
    }

    static void use(Connection connection, boolean closed) throws Exception {
        connection.setReadOnly(true);
        connection.setReadOnly(false);
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            ResultSet rows = statement.executeQuery("select count(*) from rw_java");
            check(rows.next(), "a row");
            try {
                statement.executeUpdate("insert into rw_java values ('x')");
                connection.commit();
                check(!closed, "written");
            } catch (PSQLException error) {
                check(closed && error.getSQLState().equals("25006"), error);
                String said = error.getServerErrorMessage().getMessage();
                check(said.equals("cannot execute INSERT in a read-only transaction"), said);
                connection.rollback();
            }
            statement.executeQuery("select 1");
            connection.commit();
        }
        connection.setAutoCommit(true);
    }

    public static void main(String[] arguments) throws Exception {
        for (String mode : new String[] {"always", "transaction"}) {
            try (Connection connection = connect(mode)) {
                try (Statement statement = connection.createStatement()) {
                    statement.execute("create table if not exists rw_java (who text)");
                }
                maintenance("MAINTENANCE ON " + env("PGDATABASE") + " WITH (message 'moving house')");
                use(connection, true);
                try (Connection fresh = connect(mode)) {
                    use(fresh, true);
                    maintenance("MAINTENANCE OFF " + env("PGDATABASE"));
                    use(fresh, false);
                }
                use(connection, false);
            }
        }
        System.out.println("done");
    }
}
