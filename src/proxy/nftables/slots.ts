/** Endpoints stand in numbered slots without gaps; a change moves as few of them as possible. */

/**
 * Gives every wanted endpoint a slot: those that have one below the new count keep it, the rest
 * fill the gaps. `present` and the answer are in order of slots.
 */
export function assignSlots(present: readonly string[], wanted: readonly string[]): string[] {
  const homeless = new Set(wanted);
  const slots: (string | undefined)[] = wanted.map((_, slot) => {
    const holder = present[slot];
    // Deleting as we go keeps a doubled endpoint from holding two slots.
    return holder !== undefined && homeless.delete(holder) ? holder : undefined;
  });
  const rest = homeless.values();
  return slots.map((holder) => holder ?? (rest.next().value as string));
}
