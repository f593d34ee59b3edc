/**
 * A compressed trie of role ids: it finds the roles that a scope assumes among many thousands without
 * visiting the others.
 *
 * It does not follow a role to the next one; `roles.ts` does.
 */

/** An entry of the trie, by its role id. */
export interface Named {
  readonly roleId: string;
}

/**
 * Called with an assumed role and, if its id ends in `*`, the text that replaces this `*`; a text that
 * ends in `*` itself stands for all with that prefix.
 */
export type Visit<Role> = (role: Role, parameter: string) => void;

interface Node<Role> {
  /** The letters between the parent and this node. */
  label: string;
  /** Children by the first letter of their labels. */
  readonly children: Map<string, Node<Role>>;
  /** The role with an id that ends here. */
  exact: Role | undefined;
  /** The role with an id that ends here in `*`. */
  prefix: Role | undefined;
}

export class RoleTrie<Role extends Named> {
  readonly #root = newNode<Role>('');

  constructor(roles: Iterable<Role>) {
    for (const role of roles) {
      if (role.roleId.endsWith('*')) {
        this.#reach(role.roleId.slice(0, -1)).prefix = role;
      } else {
        this.#reach(role.roleId).exact = role;
      }
    }
  }

  /** Visits the roles that `assume:<assumed>` assumes; `assumed` may end in `*`. */
  visit(assumed: string, visit: Visit<Role>): void {
    const open = assumed.endsWith('*');
    const end = open ? assumed.length - 1 : assumed.length;
    let node = this.#root;
    for (let at = 0; ; ) {
      if (node.prefix !== undefined) {
        visit(node.prefix, assumed.slice(at));
      }
      if (at === end) {
        break;
      }
      const child = node.children.get(assumed.charAt(at));
      if (child === undefined) {
        return;
      }
      if (!assumed.startsWith(child.label, at) || at + child.label.length > end) {
        if (open && child.label.startsWith(assumed.slice(at, end))) {
          visitAll(child, visit);
        }
        return;
      }
      at += child.label.length;
      node = child;
    }
    if (node.exact !== undefined) {
      visit(node.exact, '');
    }
    if (open) {
      for (const child of node.children.values()) {
        visitAll(child, visit);
      }
    }
  }

  /** The node of an id; creates it if necessary. */
  #reach(id: string): Node<Role> {
    let node = this.#root;
    for (let at = 0; at < id.length; ) {
      const next = node.children.get(id.charAt(at)) ?? newNode<Role>(id.slice(at));
      const child = splitAfter(next, sharedLength(next.label, id, at));
      node.children.set(id.charAt(at), child);
      at += child.label.length;
      node = child;
    }
    return node;
  }
}

function newNode<Role>(label: string): Node<Role> {
  return { label, children: new Map(), exact: undefined, prefix: undefined };
}

/** Returns the node, or a new parent that has the first letters of its label. */
function splitAfter<Role>(node: Node<Role>, length: number): Node<Role> {
  if (length === node.label.length) {
    return node;
  }
  const above = newNode<Role>(node.label.slice(0, length));
  node.label = node.label.slice(length);
  above.children.set(node.label.charAt(0), node);
  return above;
}

function sharedLength(label: string, id: string, at: number): number {
  let length = 0;
  while (length < label.length && label[length] === id[at + length]) {
    length += 1;
  }
  return length;
}

function visitAll<Role>(node: Node<Role>, visit: Visit<Role>): void {
  const left = [node];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    if (next.exact !== undefined) {
      visit(next.exact, '');
    }
    if (next.prefix !== undefined) {
      visit(next.prefix, '*');
    }
    left.push(...next.children.values());
  }
}
