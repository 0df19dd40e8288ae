// Drives the AI SDK: `ai_sdk_drive.mjs URL KIND QUESTIONS`, the kind being a provider and QUESTIONS the JSON of what is
// asked. Prints as `tell` of questions.py does.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { createOpenRouter } from "@openrouter/ai-sdk-provider";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { createOllama } from "ai-sdk-ollama";
import { z } from "zod";

const [url, kind, questions] = process.argv.slice(2);
const q = JSON.parse(questions);
const baseURL = `${url}/v1`;
const apiKey = "none";
const models = {
  openai: () => createOpenAI({ baseURL, apiKey }).responses("demo"),
  "openai-compatible": () =>
    createOpenAICompatible({ name: "qwill", baseURL, apiKey, supportsStructuredOutputs: true })("demo"),
  anthropic: () => createAnthropic({ baseURL, apiKey })("demo"),
  ollama: () => createOllama({ baseURL: url })("demo", { reliableObjectGeneration: false }),
  openrouter: () => createOpenRouter({ baseURL, apiKey }).chat("demo"),
};
const model = models[kind]();
const Person = z.object({ name: z.string(), age: z.number().int() });
const common = { model, maxRetries: 0 };

async function text() {
  let streamed = "";
  for await (const piece of streamText({ ...common, prompt: q.GREET }).textStream) streamed += piece;
  return { whole: (await generateText({ ...common, prompt: q.GREET })).text, streamed };
}

async function tools() {
  const called = [];
  const weather = tool({
    description: "Degrees in a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async (given) => (called.push(["weather", given]), q.WEATHER[given.city]),
  });
  const subtract = tool({
    description: "a - b.",
    inputSchema: z.object({ a: z.number().int(), b: z.number().int() }),
    execute: async (given) => (called.push(["subtract", given]), given.a - given.b),
  });
  const asked = { ...common, tools: { weather, subtract }, prompt: q.COMPARE, stopWhen: stepCountIs(6) };
  return { called, final: (await generateText(asked)).text };
}

async function structure() {
  return (await generateText({ ...common, prompt: q.ABOUT_ANNA, output: Output.object({ schema: Person }) })).output;
}

async function structureWithTools() {
  const age = tool({ description: "Age.", inputSchema: z.object({ name: z.string() }), execute: async () => 31 });
  const output = Output.object({ schema: Person });
  const asked = { ...common, tools: { age }, prompt: q.LOOK_UP_ANNA, output, stopWhen: stepCountIs(4) };
  return (await generateText(asked)).output;
}

async function picture() {
  const seen = { type: "file", mediaType: "image/png", data: Buffer.from(q.PICTURE, "base64") };
  const messages = [{ role: "user", content: [seen, { type: "text", text: q.SEEN }] }];
  return (await generateText({ ...common, messages })).text;
}

async function overflow() {
  await generateText({ ...common, prompt: q.FAR });
}

async function cancelled() {
  const ending = new AbortController();
  const stream = streamText({ ...common, prompt: q.COUNT, abortSignal: ending.signal, onError: () => {} });
  for await (const piece of stream.textStream) {
    if (piece) ending.abort();
  }
  return true;
}

const cases = { text, tools, structure, "structure with tools": structureWithTools, picture, overflow, cancelled };
const told = {};
for (const [name, run] of Object.entries(cases)) {
  try {
    told[name] = (await run()) ?? null;
  } catch (error) {
    console.error(error);
    told[name] = { raised: error.name, words: String(error.message) };
  }
}
console.log(JSON.stringify(told));
