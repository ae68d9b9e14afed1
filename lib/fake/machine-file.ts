// Reads a machine from a JSON file.
import { readFileSync } from 'node:fs';
import { codedError } from '../errors/errors';
import { deviceKinds } from './devices';
import { mdevDriver, type Machine, type MachineDevice, type MachineMdev, type MachinePort } from './machine';
import { machines, reference } from './machines';

type Json = Record<string, unknown>;

const mdevDrivers = ['mbochs', 'mdpy', 'mtty'];

class Reader {
  readonly #file: string;
  readonly #roles = new Set<string>();

  constructor(file: string) {
    this.#file = file;
  }

  fail(what: string): never {
    throw codedError('ERR_BAD_MACHINE', `${this.#file}: ${what}`);
  }

  object(value: unknown, where: string): Json {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) this.fail(`${where} must be an object`);
    return value as Json;
  }

  array(value: unknown, where: string): unknown[] {
    return Array.isArray(value) ? (value as unknown[]) : this.fail(`${where} must be an array`);
  }

  only(object: Json, where: string, allowed: readonly string[]): void {
    const other = Object.keys(object).find((key) => !allowed.includes(key));
    if (other !== undefined) this.fail(`${where} has an unknown key '${other}'; known are ${allowed.join(', ')}`);
  }

  role(value: unknown, where: string): string {
    if (typeof value !== 'string' || value === '') this.fail(`${where}.role must be a string`);
    if (this.#roles.has(value)) this.fail(`the role '${value}' is not unique`);
    this.#roles.add(value);
    return value;
  }

  u64(value: unknown, where: string): bigint {
    const text = typeof value === 'number' && Number.isSafeInteger(value) ? String(value) : value;
    if (typeof text !== 'string' || !/^(0x[\da-f]+|\d+)$/i.test(text) || BigInt(text) >= 1n << 64n) {
      this.fail(`${where} must be a number or a string with one, for example "0xfee00000"`);
    }
    return BigInt(text);
  }

  device(value: unknown, where: string): MachineDevice {
    const { role, kind, virtualFunctions } = this.object(value, where);
    if (typeof kind !== 'string' || !Object.hasOwn(deviceKinds, kind)) {
      this.fail(`${where}.kind must be one of ${Object.keys(deviceKinds).join(', ')}`);
    }
    const device = { role: this.role(role, where), kind: kind as MachineDevice['kind'] };
    if (virtualFunctions === undefined) return device;
    if (!('virtualFunction' in deviceKinds[device.kind])) this.fail(`${where}: ${kind} has no virtual functions`);
    const roles = this.array(virtualFunctions, `${where}.virtualFunctions`).map((own) => this.role(own, where));
    if (roles.length > 2) this.fail(`${where} has ${String(roles.length)} virtual functions; 2 are possible`);
    return { ...device, virtualFunctions: roles };
  }

  port(value: unknown, where: string): MachinePort {
    const port = this.object(value, where);
    this.only(port, where, ['role', 'kind', 'virtualFunctions', 'functions']);
    const device = this.device(port, where);
    if (port['functions'] === undefined) return device;
    const functions = this.array(port['functions'], `${where}.functions`);
    if (functions.length > 7) this.fail(`${where} has more than 8 functions`);
    return { ...device, functions: functions.map((own, i) => this.device(own, `${where}.functions[${String(i)}]`)) };
  }

  mdev(value: unknown, where: string): MachineMdev {
    const { role, type } = this.object(value, where);
    if (typeof type !== 'string' || !mdevDrivers.includes(mdevDriver(type))) {
      this.fail(`${where}.type must be a type of ${mdevDrivers.join(', ')}, for example 'mtty-2'`);
    }
    return { role: this.role(role, where), type };
  }

  iommu(value: unknown): Machine['iommu'] {
    const iommu = this.object(value, 'iommu');
    this.only(iommu, 'iommu', ['lastIova', 'reserved', 'capability', 'extendedCapability']);
    const number = (key: string) => (iommu[key] === undefined ? {} : { [key]: this.u64(iommu[key], `iommu.${key}`) });
    const reserved = this.array(iommu['reserved'] ?? [], 'iommu.reserved').map((range) => {
      const { start, last } = this.object(range, 'a range of iommu.reserved');
      return { start: this.u64(start, 'start'), last: this.u64(last, 'last') };
    });
    return {
      ...reference.iommu,
      ...number('lastIova'),
      ...number('capability'),
      ...number('extendedCapability'),
      ...(iommu['reserved'] !== undefined && { reserved }),
    };
  }

  machine(value: unknown): Machine {
    const machine = this.object(value, 'the machine');
    this.only(machine, 'the machine', ['name', 'ports', 'mdevs', 'iommufd', 'iommu']);
    const { name = this.#file, iommufd = true } = machine;
    if (typeof name !== 'string') this.fail('name must be a string');
    if (typeof iommufd !== 'boolean') this.fail('iommufd must be true or false');
    const ports = this.array(machine['ports'], 'ports').map((port, i) => this.port(port, `ports[${String(i)}]`));
    if (ports.length > 30) this.fail('a machine has at most 30 ports');
    const mdevs = this.array(machine['mdevs'] ?? [], 'mdevs').map((mdev, i) => this.mdev(mdev, `mdevs[${String(i)}]`));
    return { name, ports, mdevs, iommufd, iommu: this.iommu(machine['iommu'] ?? {}) };
  }
}

/**
 * Returns the machine with this name, or the one in this JSON file. The file has the fields of {@link Machine}; `iommu`
 * is optional, and its numbers can be strings.
 *
 * @throws Error ERR_BAD_MACHINE: the file is not a machine's description. ERR_UNKNOWN_MACHINE: no such machine or file.
 */
export function readMachine(nameOrFile: string): Machine {
  const known = Object.hasOwn(machines, nameOrFile) ? machines[nameOrFile] : undefined;
  if (known) return known;
  let text: string;
  try {
    text = readFileSync(nameOrFile, 'utf8');
  } catch (cause) {
    const names = Object.keys(machines).join(', ');
    throw codedError(
      'ERR_UNKNOWN_MACHINE',
      `'${nameOrFile}' is neither a machine (${names}) nor a file that can be read: ${(cause as Error).message}`,
    );
  }
  const reader = new Reader(nameOrFile);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    reader.fail(`not JSON: ${(cause as Error).message}`);
  }
  return reader.machine(value);
}
