import { testServices } from './services.cases.ts';

testServices(['ipv4', 'ipv6']);
