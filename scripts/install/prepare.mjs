// Prepares a checkout after `npm ci`: builds dist/ and the addon, at the same time. Package managers also run this in
// other places (`npm rebuild`, `npm pack`): there it deletes nothing, and it does nothing in an installed package.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath, URL } from 'node:url';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

function run(script) {
  return new Promise((resolve) => {
    spawn(process.execPath, [here(script)], { stdio: 'inherit' }).once('close', (status) => resolve(status ?? 1));
  });
}

// The package does not contain this file.
if (existsSync(here('../../tsconfig.build.json'))) {
  const [dist, addon] = await Promise.all([run('dist.mjs'), run('addon.mjs')]);
  process.exitCode = dist || addon;
}
