/** Ends a tool that cannot do its work: with the sentence of its error, and with exit code 1. */
export async function endWithSentence(work) {
  try {
    await work();
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
