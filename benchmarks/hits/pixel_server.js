// The peer: Express and sqlite3, an INSERT committed with full durability before each answer.
const express = require("express");
const sqlite3 = require("sqlite3");
const [, , port, file] = process.argv;
const gif = Buffer.from("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7", "base64");
const db = new sqlite3.Database(file);
db.serialize(() => {
  db.run("PRAGMA journal_mode=WAL");
  db.run("PRAGMA synchronous=FULL");
  db.run("CREATE TABLE hit (id INTEGER PRIMARY KEY, at INTEGER, token TEXT, ip TEXT, agent TEXT)");
});
const insert = db.prepare("INSERT INTO hit (at, token, ip, agent) VALUES (?, ?, ?, ?)");
const app = express();
app.disable("x-powered-by");
app.get("/o/:token", (request, response) => {
  insert.run(Date.now(), request.params.token, request.ip, request.get("user-agent") || "", (error) => {
    response.status(error ? 500 : 200).set({ "content-type": "image/gif", "cache-control": "no-store" }).send(gif);
  });
});
app.listen(Number(port), "127.0.0.1");
