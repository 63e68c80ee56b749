// Runs the handler on Lambda's Runtime API. AWS's own client for Node.js has a native part, which
// needs a C++ compiler to install.

import { createRequire } from "node:module";
import http from "node:http";

const API = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime`;
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const { handler } = createRequire(import.meta.url)("./handler.cjs");

while (true) {
  const { headers, body } = await request("GET", "/invocation/next");
  const id = headers["lambda-runtime-aws-request-id"];
  const deadline = Number(headers["lambda-runtime-deadline-ms"]);
  const context = {
    awsRequestId: id,
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    getRemainingTimeInMillis: () => deadline - Date.now(),
  };
  try {
    const answer = await handler(JSON.parse(body), context);
    await request("POST", `/invocation/${id}/response`, JSON.stringify(answer));
  } catch (error) {
    await request("POST", `/invocation/${id}/error`, JSON.stringify({ errorMessage: String(error) }));
  }
}

function request(method, path, body) {
  return new Promise((resolve, reject) => {
    const sent = http.request(API + path, { method, agent }, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("error", reject);
      response.on("end", () =>
        response.statusCode < 300
          ? resolve({ headers: response.headers, body: Buffer.concat(parts).toString() })
          : reject(new Error(`the Runtime API answered ${response.statusCode}`)),
      );
    });
    sent.on("error", reject);
    sent.end(body);
  });
}
