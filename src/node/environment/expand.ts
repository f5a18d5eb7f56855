/** `$(NAME)` in commands, arguments and variables (K10). */

/**
 * Replaces `$(NAME)` by the variable's value. A name nobody knows stays as it was written, `$$`
 * becomes `$`, and a `$` before anything else is itself.
 */
export function expand(text: string, valueOf: (name: string) => string | undefined): string {
  return text.replaceAll(/\$\$|\$\(([^)]*)\)/g, (whole, name: string | undefined) => {
    if (name === undefined) return '$';
    return valueOf(name) ?? whole;
  });
}
