/** `chaos` and `whoami`: who answers, and who asks. */
import { hostname } from 'node:os';

import { ipBytes } from '../../lib/ip.ts';
import type { ChaosSettings } from '../config/types.ts';
import { type Answer, type Answered, type Ask, type Next, type Stage } from '../stage.ts';
import { CLASS, FLAG, TYPE, type ResourceRecord } from '../wire/message.ts';
import { foldCase, formatName, under } from '../wire/name.ts';
import { plainAddress } from './acl.ts';

/** TXT records of class CH, as `dig CH TXT version.bind` asks for them. */
export function chaosStage({ version, authors }: ChaosSettings): Stage {
  const textsFor = (name: string): readonly string[] => {
    switch (name) {
      case 'version.bind.':
      case 'version.server.':
        return [version];
      case 'authors.bind.':
        return authors;
      case 'hostname.bind.':
      case 'id.server.':
        return [hostname()];
      default:
        return [];
    }
  };
  const answer = (ask: Ask, next: Next): Answered => {
    const { name, type, class: recordClass } = ask.query.question;
    const texts = textsFor(formatName(foldCase(name)));
    if (recordClass !== CLASS.CH || type !== TYPE.TXT || texts.length === 0) return next(ask);
    const answers = texts.map((text): ResourceRecord => {
      const bytes = Buffer.from(text.slice(0, 255), 'latin1');
      const data = [Uint8Array.of(bytes.length, ...bytes)];
      return { name, type, class: recordClass, ttl: 0, data };
    });
    return made('chaos', { answers });
  };
  return { name: 'chaos', answer };
}

/** The address and port a question came from, beside an empty answer. */
export function whoamiStage(): Stage {
  const answer = (ask: Ask): Answer => {
    const { name } = ask.query.question;
    const address = plainAddress(ask.from.address);
    const type = address.includes(':') ? TYPE.AAAA : TYPE.A;
    const common = { class: CLASS.IN, ttl: 0 };
    const protocol = ask.transport === 'udp' ? '_udp' : '_tcp';
    const { port } = ask.from;
    const numbers = Uint8Array.of(0, 0, 0, 0, port >> 8, port & 0xff);
    const additionals = [
      { ...common, name, type, data: [ipBytes(address)] },
      { ...common, name: under(protocol, name), type: TYPE.SRV, data: [numbers, '\0'] },
    ];
    return made('whoami', { additionals });
  };
  return { name: 'whoami', answer };
}

function made(stage: string, records: Partial<Pick<Answer, 'answers' | 'additionals'>>): Answer {
  const sources = [{ stage }];
  return { flags: FLAG.AA, answers: [], authorities: [], additionals: [], sources, ...records };
}
