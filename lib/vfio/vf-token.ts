// VF tokens: the secret that the owner of an SR-IOV physical function shares with the users of its virtual functions.
import { outOfRange, string } from '../errors/validate';

const form = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Converts a UUID to its 16 bytes, in written order. @internal */
export function toVfToken(token: string, name: string): Uint8Array {
  if (!form.test(string(token, name))) throw outOfRange(name, 'a UUID (8-4-4-4-12 hexadecimal digits)', token);
  return Uint8Array.from(Buffer.from(token.replaceAll('-', ''), 'hex'));
}
