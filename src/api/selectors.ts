/** Label and field selectors (A71-A73). Parsed once, matched often. */
import type { KubeObject, LabelSelector } from './meta.ts';
import type { Resource } from './resources.ts';

export type LabelRequirement = {
  readonly key: string;
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist' | 'Gt' | 'Lt';
  readonly values: readonly string[];
};

export type FieldRequirement = {
  readonly field: string;
  readonly equals: boolean;
  readonly value: string;
};

/** The text of `labelSelector`, empty for none; throws 400 on bad syntax. */
export function parseLabelSelector(text: string): LabelRequirement[] {
  void text;
  return [];
}

export function matchesLabels(
  requirements: readonly LabelRequirement[],
  labels: Record<string, string> | undefined,
): boolean {
  void requirements;
  void labels;
  return true;
}

/** The requirements of a LabelSelector object; an empty one matches everything, an absent one nothing (undefined). */
export function requirementsOf(
  selector: LabelSelector | undefined,
): LabelRequirement[] | undefined {
  void selector;
  return undefined;
}

/** Whether a LabelSelector object selects the labels; an absent selector selects nothing. */
export function selects(
  selector: LabelSelector | undefined,
  labels: Record<string, string> | undefined,
): boolean {
  void selector;
  void labels;
  return true;
}

/** `a=b,c in (d,e)`: the text of a LabelSelector object, as Scale.status.selector carries it. */
export function formatLabelSelector(selector: LabelSelector | undefined): string {
  void selector;
  return '';
}

/** The text of `fieldSelector`; throws 400 on bad syntax or a field the resource does not select by. */
export function parseFieldSelector(resource: Resource, text: string): FieldRequirement[] {
  void resource;
  void text;
  return [];
}

export function matchesFields(
  requirements: readonly FieldRequirement[],
  object: KubeObject,
): boolean {
  void requirements;
  void object;
  return true;
}
