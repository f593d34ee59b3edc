/** A field of a form, or a parameter of a query: undefined unless it is present once, as text. */
export function field(fields: unknown, name: string): string | undefined {
  const value = (fields as Readonly<Record<string, unknown>> | null | undefined)?.[name];
  return typeof value === 'string' ? value : undefined;
}
