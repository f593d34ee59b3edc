/**
 * What a request needs cannot be reached now, through no fault of its caller or of this program: the database, or the
 * auth service. The client is told to try again (503); its log tells the operator why.
 *
 * What finds an outage throws this; `asApiError` alone makes an answer of it.
 */
export class Outage extends Error {
  override readonly name = 'Outage';
}
