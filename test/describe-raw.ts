// Suites that make raw calls (raw.ts). A prebuilt addon has none.
import { native } from '../lib/addon/native';
import { cleanUp } from './raw';

export function describeRaw(title: string, suite: () => void): void {
  // Mocha's functions belong to the file that is loaded now.
  const begin = native.rawCall ? describe : describe.skip;
  begin(title, () => {
    afterEach(cleanUp); // before the hooks of a rig
    suite();
  });
}
