// node-postgres through pgsluice. Connects by libpq's variables; any failure is an exception.
'use strict';

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const { Client, Pool, DatabaseError } = require('pg');

const config = {
  ssl: { ca: fs.readFileSync(process.env.PGSSLROOTCERT, 'utf8') },
  connectionTimeoutMillis: 20000,
};
const database = process.env.PGDATABASE;

function console_(sql) {
  const env = {
    ...process.env, PGDATABASE: 'pgsluice', PGUSER: process.env.ADMIN, PGPASSWORD: process.env.ADMIN_PASSWORD,
  };
  execFileSync(process.env.PSQL, ['-XAtq', '-v', 'ON_ERROR_STOP=1', '-c', sql], { env, timeout: 60000 });
}

async function connect() {
  const client = new Client(config);
  await client.connect();
  return client;
}

async function one(client, text, values) {
  const { rows } = await client.query({ text, values, rowMode: 'array' });
  return rows[0][0];
}

async function code(promise, expected) {
  const error = await promise.then(() => null, (error) => error);
  assert.ok(error instanceof DatabaseError, `${expected}: ${error}`);
  assert.equal(error.code, expected, error.message);
  return error;
}

async function queries(client) {
  assert.equal(await one(client, 'select 6 * 7'), 42);
  assert.equal(await one(client, 'select $1::text || $2', ['a', 'ü€']), 'aü€');
  const { rows } = await client.query('select generate_series(1, 100000) n');
  assert.equal(rows.at(-1).n, 100000);
  assert.equal(await one(client, 'select length($1::text)', ['x'.repeat(3e6)]), 3e6);
  assert.equal((await one(client, "select repeat('x', 3000000)")).length, 3e6);
  const both = await client.query('select 1 a; select 2 b');
  assert.deepEqual(both.map((result) => result.rows), [[{ a: 1 }], [{ b: 2 }]]);
  assert.equal((await code(client.query('select * from no_such_table'), '42P01')).position, '15');
  const notice = new Promise((resolve) => client.once('notice', resolve));
  await client.query("do $$ begin raise notice 'hello'; end $$");
  assert.equal((await notice).message, 'hello');
}

async function transactions(client) {
  await client.query('begin');
  await client.query("insert into t values (1, 'one')");
  await client.query('savepoint a');
  await client.query("insert into t values (2, 'two')");
  await client.query('rollback to savepoint a');
  await client.query("insert into t values ($1, $2)", [3, 'three']);
  await client.query('commit');
  assert.deepEqual(await one(client, 'select array_agg(id order by id) from t'), [1, 3]);
  await client.query('begin');
  await client.query('delete from t');
  await code(client.query('select 1/0'), '22012');
  await code(client.query('select $1::int', [1]), '25P02');
  assert.equal((await client.query('commit')).command, 'ROLLBACK');
  assert.equal(await one(client, 'select count(*)::int from t'), 2);
  assert.equal((await code(client.query("insert into t values (1, 'again')"), '23505')).constraint, 't_pkey');
}

async function prepared(client) {
  const twice = (n) => ({ name: 'twice', text: 'select $1::int * 2 as n', values: [n] });
  for (let n = 0; n < 10; n++) {
    assert.equal((await client.query(twice(n))).rows[0].n, 2 * n);
    await client.query('begin');
    assert.equal((await client.query(twice(n))).rows[0].n, 2 * n);
    await client.query('commit');
  }
  await code(client.query({ name: 'wrong', text: 'select no_such from t' }), '42703');
  await code(client.query({ name: 'wrong', text: 'select no_such from t' }), '42703');
}

async function preparedInParallel() {
  const pool = new Pool({ ...config, max: 6 });
  const work = Array.from({ length: 200 }, async (_, n) => {
    const name = `plus_${n % 15}`;
    const { rows } = await pool.query({ name, text: `select $1::int + ${n % 15} as n`, values: [n] });
    assert.equal(rows[0].n, n + (n % 15));
    if (n % 20 === 0) {
      const client = await pool.connect();
      await client.query('begin');
      for (let i = 0; i < 3; i++) {
        assert.equal((await client.query({ name: 'mine', text: 'select $1::int as n', values: [n] })).rows[0].n, n);
      }
      await client.query('commit');
      client.release();
    }
  });
  await Promise.all(work);
  await pool.end();
}

async function cancel(client) {
  await client.query("set application_name = 'kept'");
  const running = client.query('select pg_sleep(60)');
  await new Promise((resolve) => setTimeout(resolve, 300));
  await withCancel(client, running);
  assert.equal(await one(client, "select current_setting('application_name')"), 'kept');
}

// node-postgres' own cancel() knows no TLS: the request goes to the unix socket, as cancel requests are not bound to
// the connection they came for.
async function withCancel(client, running) {
  const net = require('node:net');
  const request = Buffer.alloc(16);
  request.writeInt32BE(16, 0);
  request.writeInt32BE(80877102, 4);
  request.writeInt32BE(client.processID, 8);
  request.writeInt32BE(client.secretKey, 12);
  const cancelled = code(running, '57014');
  await new Promise((resolve, reject) => {
    const socket = net.connect(process.env.SOCKET, () => socket.write(request));
    socket.on('close', resolve).on('error', reject).resume();
  });
  assert.equal((await cancelled).message, 'canceling statement due to user request');
}

async function cursors(client) {
  await client.query('begin');
  await client.query('declare c scroll cursor for select generate_series(1, 1000) n');
  assert.equal((await client.query('fetch 400 from c')).rows.at(-1).n, 400);
  assert.equal((await client.query('fetch backward 1 from c')).rows[0].n, 399);
  await client.query('commit');
  await code(client.query('fetch 1 from c'), '34000');
  // A portal that is read in parts, by Execute with a limit.
  await client.query('begin');
  const { rows } = await client.query({ text: 'select generate_series(1, 1000) n', rows: 100 });
  assert.equal(rows.length, 1000);
  await client.query('commit');
}

async function maintenance(client) {
  const insert = (n) => ({ name: 'insert', text: 'insert into t values ($1, $2)', values: [n, 'x'] });
  const read = () => client.query({ name: 'read', text: 'select id from t where id = $1', values: [60000] });
  const inUse = await connect();
  await client.query(insert(60000));
  assert.equal((await read()).rowCount, 1);
  const pid = client.processID;
  console_(`MAINTENANCE ON ${database} WITH (message 'moving house', until '2030-12-01 14:00Z')`);

  const refused = async (query, command = 'INSERT', by = client) => {
    const error = await code(by.query(query), '25006');
    assert.equal(error.message, `cannot execute ${command} in a read-only transaction`);
    assert.equal(error.detail, `database "${database}" is in maintenance: moving house`);
    assert.match(error.hint, /2030-12-01/);
    assert.equal(error.severity, 'ERROR');
  };
  const literal = "insert into t values (60001, 'x')";
  const unnamed = { text: 'insert into t values ($1, $2)', values: [60001, 'x'] };
  for (const query of [insert(60001), literal, unnamed]) await refused(query);
  assert.equal((await read()).rowCount, 1);
  await refused("update t set v = 'x'", 'UPDATE');
  await refused('create table u ()', 'CREATE TABLE');
  await refused('select 1; truncate t', 'TRUNCATE TABLE');
  await refused("select nextval('s')", 'nextval()');
  await client.query('begin');
  assert.equal((await read()).rowCount, 1);
  await refused(insert(60001));
  await code(client.query('select 1'), '25P02');
  assert.equal((await client.query('commit')).command, 'ROLLBACK');
  await client.query('begin');
  await client.query('savepoint a');
  await refused(literal);
  await client.query('rollback to a');
  assert.equal((await read()).rowCount, 1);
  await client.query('commit');
  const running = client.query('select pg_sleep(60)');
  await new Promise((resolve) => setTimeout(resolve, 300));
  await withCancel(client, running);
  const late = await connect();
  for (const other of [inUse, late]) {
    assert.equal(await one(other, 'select count(*)::int from t where id = 60000'), 1);
    await refused(literal, 'INSERT', other);
  }
  await late.end();
  for (const query of [insert(60001), literal, unnamed]) await refused(query);
  console_(`MAINTENANCE OFF ${database}`);
  await client.query(insert(60002));
  await inUse.query(insert(60003));
  await inUse.end();
  assert.deepEqual(
    await one(client, 'select array_agg(id order by id) from t where id between 60000 and 60100'),
    [60000, 60002, 60003],
  );
  assert.equal(client.processID, pid);
}

async function main() {
  const client = await connect();
  await client.query('drop table if exists t; create table t (id int primary key, v text)');
  await client.query('drop sequence if exists s; create sequence s');
  for (const part of [queries, transactions, prepared, cancel, cursors, preparedInParallel, maintenance]) {
    console.log(part.name);
    await part(client);
  }
  await client.end();
  console.log('done');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
