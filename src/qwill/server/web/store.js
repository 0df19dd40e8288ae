// What the browser keeps: heads of conversations for the list, their messages, and pictures and videos as they came.

const NAME = "qwill";
const VERSION = 1;

/** Opens the database; null where the browser has none for this page, which then forgets everything when it is left. */
export async function openStore() {
  try {
    const request = indexedDB.open(NAME, VERSION);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("heads", { keyPath: "id" });
      request.result.createObjectStore("trees", { keyPath: "id" });
      const media = request.result.createObjectStore("media", { keyPath: "id" });
      media.createIndex("conversation", "conversation");
    };
    const database = await outcome(request);
    database.onversionchange = () => database.close(); // another window has a newer page
    return new Store(database);
  } catch {
    return null;
  }
}

class Store {
  #database;

  constructor(database) {
    this.#database = database;
  }

  /** The heads of all conversations: id, title, times. */
  heads() {
    return outcome(this.#database.transaction("heads").objectStore("heads").getAll());
  }

  head(id) {
    return outcome(this.#database.transaction("heads").objectStore("heads").get(id));
  }

  /** A conversation's messages; undefined when it has been deleted. */
  tree(id) {
    return outcome(this.#database.transaction("trees").objectStore("trees").get(id));
  }

  /** Writes both parts of a conversation, or neither. */
  save(head, tree) {
    const transaction = this.#database.transaction(["heads", "trees"], "readwrite");
    transaction.objectStore("heads").put(head);
    transaction.objectStore("trees").put(tree);
    return completion(transaction);
  }

  saveMedium(id, conversation, blob) {
    const transaction = this.#database.transaction("media", "readwrite");
    transaction.objectStore("media").put({ id, conversation, blob });
    return completion(transaction);
  }

  /** The bytes of a picture or video. */
  async medium(id) {
    return (await outcome(this.#database.transaction("media").objectStore("media").get(id)))?.blob;
  }

  async remove(id) {
    const transaction = this.#database.transaction(["heads", "trees", "media"], "readwrite");
    transaction.objectStore("heads").delete(id);
    transaction.objectStore("trees").delete(id);
    const media = transaction.objectStore("media");
    const keys = media.index("conversation").getAllKeys(id);
    keys.onsuccess = () => keys.result.forEach((key) => media.delete(key));
    await completion(transaction);
  }
}

function outcome(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("another window keeps the database"));
  });
}

function completion(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}
