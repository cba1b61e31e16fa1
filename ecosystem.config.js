// Both programs under PM2: `pm2 start ecosystem.config.js`, then `pm2 monit`, `pm2 logs`, `pm2 restart techsapo`.
//
// In: ready binaries (`cargo build --release`, or TECHSAPO_BIN_DIR), a Redis, and settings in a file of NAME=value lines (TECHSAPO_ENV_FILE, or
// secrets/techsapo.env if there is one). Data and logs go below TECHSAPO_RUN_DIR (run/), to where start-monitoring.sh has them too.
//
// What must hold: a program is asked to end and waited for (its events leave first), one that keeps failing is started ever
// less often, and neither sees the settings of the other, nor whatever else stands in the environment of the shell that calls pm2: PM2 writes
// the environment down in clear (`pm2 env`, `pm2 save`). Give passwords by files, such as TECHSAPO_REDIS_URL_FILE. docs/native.md tells more.
'use strict';

const fs = require('node:fs');
const path = require('node:path');

/** A path from the environment, or one of this repository. */
const place = (variable, otherwise) => path.resolve(__dirname, process.env[variable] || otherwise);

const BIN_DIR = place('TECHSAPO_BIN_DIR', path.join(process.env.CARGO_TARGET_DIR || 'target', 'release'));
const RUN_DIR = place('TECHSAPO_RUN_DIR', 'run');

/** The settings of a file that systemd's EnvironmentFile= would read the same way; it belongs to its owner alone. */
function settings() {
  const file = place('TECHSAPO_ENV_FILE', 'secrets/techsapo.env');
  if (!process.env.TECHSAPO_ENV_FILE && !fs.existsSync(file)) return {};
  if (fs.statSync(file).mode & 0o077) throw new Error(`others may read ${file}: chmod 600 ${file}`);
  const found = {};
  fs.readFileSync(file, 'utf8').split('\n').forEach((line, index) => {
    if (/^\s*([#;]|$)/.test(line)) return;
    const parts = /^\s*([A-Za-z_][A-Za-z0-9_]*)=\s*(?:"([^"\\]*)"|'([^'\\]*)'|([^"'\\\s](?:[^\\]*[^\\\s])?)?)\s*$/.exec(line);
    if (!parts) throw new Error(`${file}:${index + 1}: expected NAME=value, without backslashes`);
    found[parts[1]] = parts[2] ?? parts[3] ?? parts[4] ?? '';
  });
  return found;
}

/** TECHSAPO_EXPORTER_… are the exporter's settings, but for the app's own that says where the exporter is. */
const isExporters = (name) => name.startsWith('TECHSAPO_EXPORTER_') && !/^TECHSAPO_EXPORTER_URL(_FILE)?$/.test(name);

const given = Object.entries(settings());
const of = (wanted) => Object.fromEntries(given.filter(([name]) => isExporters(name) === wanted));

/** What both have in common. */
function program(name, args, memory, env) {
  const log = path.join(RUN_DIR, 'logs', `${name}.log`);
  return {
    name,
    script: path.join(BIN_DIR, name),
    cwd: __dirname,
    args,
    interpreter: 'none',
    exec_mode: 'fork',
    instances: 1,
    // Every name contains the empty word: nothing of the calling shell's environment is handed on (`true` would hand on all of it).
    filter_env: [''],
    env,
    // SIGINT at first. The app gives requests 5 s, then as long again for events (shutdown.deadline); whoever raises that, raises this.
    kill_timeout: 30_000,
    autorestart: true,
    // After wrong settings a restart helps nobody: that run says what is wrong, and stays down.
    stop_exit_codes: [2],
    exp_backoff_restart_delay: 100,
    max_memory_restart: memory,
    // One file: both write their log to standard error. pm2-logrotate rotates it (scripts/pm2-logrotate.sh).
    out_file: log,
    error_file: log,
    merge_logs: true,
    vizion: false,
  };
}

module.exports = {
  apps: [
    program('techsapo', ['--config', path.join(__dirname, 'config/techsapo.toml')], '512M', {
      TECHSAPO_JOURNAL_DIR: path.join(RUN_DIR, 'data/journal'),
      ...of(false),
    }),
    program('techsapo-exporter', [], '256M', {
      TECHSAPO_EXPORTER_CHECKPOINT_DIR: path.join(RUN_DIR, 'data/exporter'),
      ...of(true),
    }),
  ],
};
