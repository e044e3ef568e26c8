// The package's types, as a program uses them: checked, never run.

import { AmicusError, type Answer, type Cluster, type Step, connect, fromPixels, parseTokens } from "../client/amicus.js";

const cluster: Cluster = { helper: "https://helper.example", parties: ["https://one.example", "https://two.example"] };

export async function classify(image: ImageData, tokens: string): Promise<number> {
  const client = await connect(cluster, parseTokens(tokens), { model: "lenet", patience: 1000 });
  const onstep = (step: Step) => {
    if (step.step === "masked") console.log(step.picture.length, step.shape);
    else if (step.step === "sent") console.log(step.node);
  };
  try {
    const answer: Answer = await client.predict(fromPixels(client.plan, image), { onstep });
    return answer.outputs === null ? (answer.labels?.[0] ?? 0) : answer.class;
  } catch (error) {
    if (error instanceof AmicusError && error.cheated) console.log(error.what, error.whose, error.sent);
    throw error;
  }
}

// @ts-expect-error: other numbers than 32-bit ones are no image
void connect(cluster, {}).then((client) => client.predict(new Float64Array(784)));
