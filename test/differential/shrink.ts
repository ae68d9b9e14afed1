// Shrinks a failing list: the smallest part that still fails (delta debugging, as described by Zeller).

export async function shrink(whole: readonly number[], fails: (part: number[]) => Promise<boolean>): Promise<number[]> {
  let list = [...whole];
  for (let size = Math.ceil(list.length / 2); size >= 1;) {
    let removed = false;
    for (let at = list.length - size; at > -size && list.length > 1; at -= size) {
      const start = Math.max(0, at);
      const rest = [...list.slice(0, start), ...list.slice(at + size)];
      if (rest.length < list.length && (await fails(rest))) {
        list = rest;
        removed = true;
      }
    }
    if (size === 1 && !removed) break;
    size = size === 1 ? 1 : Math.ceil(size / 2);
  }
  return list;
}
