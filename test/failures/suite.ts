// Loads the conformance suite as scenarios that can be repeated: this file replaces mocha's functions while the suite's
// files are loaded.

/** The part of mocha's `this` that the suite's hooks and cases use. */
export interface Context {
  test: { fullTitle: () => string };
  skip: () => never;
}

export type Step = (this: Context) => unknown;

/** A case with all its hooks. */
export interface Scenario {
  title: string;
  before: Step[];
  body: Step;
  after: Step[];
}

/** Thrown by a case that is skipped here. */
export class Skipped extends Error {}

class Block {
  readonly before: Step[] = [];
  readonly beforeEach: Step[] = [];
  readonly afterEach: Step[] = [];
  readonly after: Step[] = [];
  readonly title: string;
  readonly parent: Block | undefined;

  constructor(title: string, parent: Block | undefined) {
    this.title = title;
    this.parent = parent;
  }

  /** The blocks from the outermost to this one. */
  get path(): Block[] {
    return [...(this.parent?.path ?? []), this];
  }
}

/** Loads test files. Returns their cases. */
export async function loadScenarios(files: readonly string[]): Promise<Scenario[]> {
  const scenarios: Scenario[] = [];
  let current = new Block('', undefined);
  const describe = (title: string, define: () => void) => {
    current = new Block(title, current);
    define();
    current = current.parent ?? current;
  };
  const it = (title: string, body: Step) => {
    const path = current.path;
    const outward = [...path].reverse();
    scenarios.push({
      title: [...path.slice(1).map((block) => block.title), title].join(' '),
      before: [...path.flatMap((block) => block.before), ...path.flatMap((block) => block.beforeEach)],
      body,
      after: [...outward.flatMap((block) => block.afterEach), ...outward.flatMap((block) => block.after)],
    });
  };
  const hooks = Object.fromEntries(
    (['before', 'beforeEach', 'afterEach', 'after'] as const).map((name) => [
      name,
      (step: Step) => current[name].push(step),
    ]),
  );
  Object.assign(globalThis, { describe, it: Object.assign(it, { skip: () => undefined }), ...hooks });
  for (const file of files) await import(file);
  return scenarios;
}

let runs = 0;

/** The `this` of a run's steps. */
export function contextOf({ title }: Scenario): Context {
  runs += 1;
  const name = `${title} (${String(runs)})`;
  return {
    test: { fullTitle: () => name },
    skip: () => {
      throw new Skipped();
    },
  };
}
