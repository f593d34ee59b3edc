/**
 * A part that a request needs cannot be reached now, through no fault of its caller or of this program: the database,
 * or the auth service. The client is told to try again (503); the log tells the operator why.
 *
 * The code that finds an outage throws this; `asApiError` alone makes an answer of it.
 */
export class Outage extends Error {
  override readonly name = 'Outage';
}
