import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.Map;
import java.util.Properties;

/** targetServerType of pgjdbc, before, in and after a maintenance; SHOW pgsluice.mode by it. */
public class Attrs {
    static String env(String name) {
        return System.getenv(name);
    }

    static Connection connect(String type, String ports) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", env("PGUSER"));
        properties.setProperty("password", env("PGPASSWORD"));
        properties.setProperty("sslmode", "verify-full");
        properties.setProperty("sslrootcert", env("PGSSLROOTCERT"));
        properties.setProperty("targetServerType", type);
        // What it has learnt of a host it keeps for ten seconds otherwise.
        properties.setProperty("hostRecheckSeconds", "0");
        properties.setProperty("prepareThreshold", "2");
        String hosts = "";
        for (String port : ports.split(",")) {
            hosts += (hosts.isEmpty() ? "" : ",") + "localhost:" + port;
        }
        return DriverManager.getConnection("jdbc:postgresql://" + hosts + "/" + env("PGDATABASE"), properties);
    }

    static boolean finds(String type) throws SQLException {
        try (Connection connection = connect(type, env("PGPORT"))) {
            return connection.isValid(10);
        } catch (SQLException error) {
            if (!error.getMessage().startsWith("Could not find a server with specified targetServerType")) {
                throw error;
            }
            return false;
        }
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static void phase(boolean closed) throws Exception {
        Map<String, Boolean> expected =
            Map.of("any", true, "primary", !closed, "secondary", closed, "preferSecondary", true, "preferPrimary", true);
        for (var entry : expected.entrySet()) {
            check(finds(entry.getKey()) == entry.getValue(), entry.getKey() + ", closed: " + closed);
        }
        try (Connection connection = connect("primary", env("PGPORT") + "," + env("DIRECT_PORT"));
                ResultSet rows = connection.createStatement().executeQuery("SHOW transaction_read_only")) {
            check(rows.next() && rows.getString(1).equals("off"), "a primary that is read-only");
        }
        String mode = closed ? "read_only" : "read_write";
        try (Connection connection = connect("any", env("PGPORT"));
                PreparedStatement show = connection.prepareStatement("SHOW pgsluice.mode")) {
            for (int round = 0; round < 10; round++) {
                // From the third on prepared on the server; every other round in a transaction.
                connection.setAutoCommit(round % 2 == 0);
                try (ResultSet rows = show.executeQuery()) {
                    check(rows.next() && rows.getString(1).equals(mode), "round " + round);
                    check(rows.getMetaData().getColumnName(1).equals("pgsluice.mode"), "the column's name");
                }
                if (!connection.getAutoCommit()) {
                    connection.commit();
                }
            }
        }
    }

    static void console(String sql) throws Exception {
        ProcessBuilder psql = new ProcessBuilder(env("PSQL"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql).inheritIO();
        psql.environment().putAll(Map.of(
            "PGDATABASE", "pgsluice", "PGUSER", env("ADMIN"), "PGPASSWORD", env("ADMIN_PASSWORD")));
        check(psql.start().waitFor() == 0, sql);
    }

    public static void main(String[] arguments) throws Exception {
        phase(false);
        console("MAINTENANCE ON " + env("PGDATABASE"));
        phase(true);
        console("MAINTENANCE OFF " + env("PGDATABASE"));
        phase(false);
        System.out.println("done");
    }
}
