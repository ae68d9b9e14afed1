// Limits the number of a server's clients, in total and per user.
import { integer } from '../errors/validate';

const mostClients = 65536;

interface SlotOptions {
  clients?: number | undefined;
  clientsPerUser?: number | undefined;
  reserved?: number | undefined;
}

/** Decides whether the server accepts another client of a user. @internal */
export class Slots {
  readonly #most: number;
  readonly #perUser: number;
  readonly #reserved: number;

  constructor({ clients = 64, clientsPerUser, reserved }: SlotOptions) {
    this.#most = integer(clients, 'clients', 1, mostClients);
    const share = Math.max(1, Math.floor(clients / 4));
    this.#perUser = integer(clientsPerUser ?? share, 'clientsPerUser', 1, mostClients);
    const kept = clients < 4 ? 0 : Math.max(1, Math.floor(clients / 32));
    this.#reserved = integer(reserved ?? kept, 'reserved', 0, Math.floor((clients - 1) / 2));
  }

  /**
   * Returns why a client of user `uid` is refused while clients of the users `present` are connected; undefined if it
   * is accepted. Root may use every slot. This process's user may use all slots except those reserved for root. Other
   * users may use the slots that are not reserved, up to the limit per user.
   */
  refuse(uid: number, present: readonly number[]): string | undefined {
    if (uid === 0) return this.#room(present, 0);
    if (uid === process.geteuid?.()) return this.#room(present, this.#reserved);
    const same = present.filter((other) => other === uid).length;
    if (same >= this.#perUser) return `too many clients of user ${String(uid)}`;
    return this.#room(present, 2 * this.#reserved);
  }

  #room(present: readonly number[], kept: number): string | undefined {
    return present.length < this.#most - kept ? undefined : 'too many clients';
  }
}
