/**
 * Branded types: a value that passed a check carries the check's name in its type.
 * Nothing exists at run time but the value itself.
 */
declare const brand: unique symbol

/** `T` that was checked to be an `N`. Made only by the constructor of that name. */
export type Brand<T, N extends string> = T & { readonly [brand]: N }

/** A quantity `T` in the unit `N` (`Unit<bigint, 'msat'>`). */
export type Unit<T, N extends string> = Brand<T, N>

/** Ends a switch over a union: a type error when a case is missing, a fault when one slips through. */
export const unreachable = (value: never): never => {
  throw new Error(`unreachable case: ${JSON.stringify(value, (_, v: unknown) => (typeof v === 'bigint' ? `${v}n` : v))}`)
}
