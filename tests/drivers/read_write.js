// postgres.js in explicit READ WRITE transactions through a closed gate.
'use strict';
const assert = require('assert');
const fs = require('fs');
const { execFileSync } = require('child_process');
const postgres = require('postgres');

const database = process.env.PGDATABASE;

function maintenance(command) {
  const env = { ...process.env, PGDATABASE: 'pgsluice', PGUSER: process.env.ADMIN, PGPASSWORD: process.env.ADMIN_PASSWORD };
  execFileSync(process.env.PSQL, ['-XAtq', '-v', 'ON_ERROR_STOP=1', '-c', command], { env, stdio: 'ignore' });
}

async function main() {
  const ca = fs.readFileSync(process.env.PGSSLROOTCERT);
  const sql = postgres({ ssl: { ca }, max: 1, onnotice: () => {} });
  await sql`create table if not exists rw_js (who text)`;
  await sql`truncate rw_js`;
  await sql.begin('read write', async (sql) => sql`select count(*) from rw_js`);
  for (const options of ['read write', 'isolation level repeatable read read write']) {
    maintenance(`MAINTENANCE ON ${database} WITH (message 'moving house')`);
    const [row] = await sql.begin(options, async (sql) => sql`select 6 * ${7}::int as n`);
    assert.strictEqual(row.n, 42);
    await assert.rejects(
      sql.begin(options, async (sql) => {
        await sql`select count(*) from rw_js`;
        await sql`insert into rw_js values (${'x'})`;
      }),
      (error) =>
        error.code === '25006' &&
        error.message === 'cannot execute INSERT in a read-only transaction' &&
        error.detail === `database "${database}" is in maintenance: moving house`,
    );
    maintenance(`MAINTENANCE OFF ${database}`);
    await sql.begin(options, async (sql) => sql`insert into rw_js values (${'x'})`);
  }
  const [{ count }] = await sql`select count(*)::int from rw_js`;
  assert.strictEqual(count, 2);
  await sql.end();
  console.log('done');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
