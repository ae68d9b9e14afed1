// Finds everything in the library that can be called, by reflection, so that later additions are included.
import { EventEmitter } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { types } from 'node:util';
import * as main from '../../../lib';
import * as fake from '../../../lib/fake';

// eslint-disable-next-line @typescript-eslint/no-unsafe-function-type
type AnyFunction = Function;

/** A function, method, accessor or constructor. */
export interface Member {
  /** 'Ioas#mapDmaBuf', 'Iommufd.open', 'get Ioas#closed', 'new DmaBuf', 'defaultKernel()'. */
  id: string;
  /** The class's name; undefined: a function of a module. */
  owner: string | undefined;
  /** Whether it is called on an instance, instead of on the class or without a receiver. */
  ofInstance: boolean;
  /**
   * 'checked': invalid arguments cause an error with a code. 'fake': of vfio-dmabuf/fake, which does not validate the
   * descriptions of machines. 'internal': not in the published types, but a program can reach it, and it must not crash
   * either.
   */
  kind: 'checked' | 'fake' | 'internal';
  /** The function, or the class of a constructor. */
  readonly of: AnyFunction;
  call(receiver: unknown, args: readonly unknown[]): unknown;
}

export type Class = (abstract new (...args: never[]) => unknown) & { prototype: object };

const library = join(__dirname, '../../../lib');
const sources = readdirSync(library, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => readFileSync(join(library, name), 'utf8'));
const comments = sources.flatMap((source) => source.match(/\/\*\*(?:(?!\*\/)[^])*\*\/\s*[^\n]*/g) ?? []);

/** The error codes that doc comments name. */
export const documentedCodes = new Set(comments.flatMap((comment) => comment.match(/\bERR_[A-Z_]+/g) ?? []));

/** The property names of all public interfaces and options objects. */
export const optionNames: readonly string[] = [
  ...new Set(
    sources.flatMap((source) => [...source.matchAll(/\b(\w+)\??: [^,;=]+[;}]/g)].map((match) => match[1] ?? '')),
  ),
];

/** The names that are not in the published types. */
const internalNames = new Set(
  comments
    .filter((comment) => comment.includes('@internal'))
    .map(
      (comment) =>
        /\*\/\s*(?:(?:static|readonly|protected|private|abstract|override|async|get|set)\s+)*([\w]+)/.exec(
          comment,
        )?.[1] ?? '',
    ),
);

/** The package's export of this name. */
export function exported(name: string | undefined): unknown {
  return name === undefined ? undefined : ({ ...main, ...fake } as Record<string, unknown>)[name];
}

function isClass(value: unknown): value is Class {
  return typeof value === 'function' && String(value).startsWith('class');
}

function isBuiltin(type: unknown): boolean {
  if (typeof type !== 'function') return true;
  return (globalThis as unknown as Record<string, unknown>)[type.name] === type || !isClass(type);
}

/** Returns a property's descriptor; undefined: there is none. */
function describe(object: object, key: string | symbol): { value?: unknown; get?: () => unknown; set?: AnyFunction } {
  return Reflect.getOwnPropertyDescriptor(object, key) ?? {};
}

/** An object's own properties, and the values of its getters. */
function* properties(object: object): Generator<[string, unknown]> {
  for (let at: object | null = object; at && !isBuiltin(at.constructor); at = Reflect.getPrototypeOf(at)) {
    for (const key of Object.getOwnPropertyNames(at)) {
      const { value, get } = describe(at, key);
      if (at === object) yield [key, value];
      if (!get || internalNames.has(key)) continue;
      try {
        yield [key, Reflect.apply(get, object, [])];
      } catch {
        // The object is closed, or the kernel returned an error.
      }
    }
  }
}

export class Surface {
  readonly members: Member[] = [];
  readonly #classes = new Map<AnyFunction, string>();
  readonly #own = new Set<string>();

  constructor() {
    this.#addAll(main, '', 0);
    const ofMain = this.members.length;
    this.#addAll(fake, '', 0);
    for (const member of this.members.slice(ofMain)) if (member.kind === 'checked') member.kind = 'fake';
  }

  /** The classes that were found. */
  get classes(): Class[] {
    return [...this.#classes.keys()] as unknown as Class[];
  }

  isOurs(value: unknown): value is object {
    return typeof value === 'object' && value !== null && !types.isProxy(value) && this.#classes.has(value.constructor);
  }

  /** Adds an object's own accessor functions, and returns its objects whose classes are not exported. */
  learn(object: object): object[] {
    const found: object[] = [];
    const owner = object.constructor.name;
    for (const [key, value] of properties(object)) {
      if (typeof value === 'function' && !this.#own.has(`${owner}#${key}`)) {
        this.#own.add(`${owner}#${key}`);
        this.#addMethod(`${owner}#${key}`, owner, key, true, value);
      }
      if (typeof value !== 'object' || value === null || types.isProxy(value) || internalNames.has(key)) continue;
      const type = value.constructor as unknown;
      if (isBuiltin(type)) continue;
      if (!this.#classes.has(type as AnyFunction) && isClass(type)) this.#addClass(type);
      found.push(value);
    }
    return found;
  }

  #addAll(exported: object, prefix: string, depth: number): void {
    for (const [name, value] of Object.entries(exported) as [string, unknown][]) {
      if (isClass(value)) this.#addClass(value);
      else if (typeof value === 'function') this.#addMethod(`${prefix}${name}()`, undefined, name, false, value);
      else if (typeof value === 'object' && value !== null && depth < 3)
        this.#addAll(value, `${prefix}${name}.`, depth + 1);
    }
  }

  #addClass(type: Class): void {
    if (this.#classes.has(type)) return;
    const owner = type.name;
    this.#classes.set(type, owner);
    const construct = type as unknown as new (...args: readonly unknown[]) => unknown;
    class Derived extends (type as unknown as new (...args: readonly unknown[]) => object) {}
    this.members.push({
      id: `new ${owner}`,
      owner,
      ofInstance: false,
      kind: 'internal', // most are internal, and reflection cannot tell which are not
      of: type,
      call: (receiver, args) =>
        receiver === Derived || receiver === undefined ? new Derived(...args) : new construct(...args),
    });
    for (const key of Reflect.ownKeys(type)) {
      if (!['length', 'name', 'prototype'].includes(key as string)) this.#addProperty(type, owner, key, false);
    }
    for (let at = type.prototype as object | null; at; at = Reflect.getPrototypeOf(at)) {
      // Without Node's EventEmitter: the caller is responsible for a listener that throws.
      if (isBuiltin(at.constructor) || at === EventEmitter.prototype) break;
      for (const key of Reflect.ownKeys(at)) {
        // Without overrides of EventEmitter's members. This includes the constructor, which every class has.
        if (!Object.hasOwn(EventEmitter.prototype, key)) this.#addProperty(at, owner, key, true);
      }
    }
  }

  #addProperty(holder: object, owner: string, key: string | symbol, ofInstance: boolean): void {
    const id = typeof key === 'symbol' ? `${owner}[${key.toString()}]` : `${owner}${ofInstance ? '#' : '.'}${key}`;
    const { value, get, set } = describe(holder, key);
    if (typeof value === 'function') this.#addMethod(id, owner, key, ofInstance, value);
    if (get) this.#addMethod(`get ${id}`, owner, key, ofInstance, get);
    if (set) this.#addMethod(`set ${id}`, owner, key, ofInstance, set);
  }

  #addMethod(
    id: string,
    owner: string | undefined,
    key: string | symbol,
    ofInstance: boolean,
    value: AnyFunction,
  ): void {
    if (this.members.some((member) => member.id === id)) return;
    this.members.push({
      id,
      owner,
      ofInstance,
      kind: typeof key === 'string' && internalNames.has(key) ? 'internal' : 'checked',
      of: value,
      call: (receiver, args) => Reflect.apply(value, receiver, args) as unknown,
    });
  }
}
